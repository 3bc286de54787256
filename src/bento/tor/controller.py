"""One control connection to one tor, for asyncio.

Invariant: replies come in the order of the commands, so a command that nobody waits for any more
still takes its own reply; when the connection ends, everybody who waits learns why, once.
Event callbacks are plain functions called in the order of the events, inside the read itself:
a circuit is attached to a stream in the same turn of the loop that read the event.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bento.errors import HostError, TorError, UsageError
from bento.tor.addresses import parse_endpoint
from bento.tor.control_codec import (
    Event,
    Reply,
    ReplyParser,
    encode_command,
    parse_arguments,
    quote,
    unquote,
)

EventCallback = Callable[[Event], None]
ReplyCallback = Callable[[Reply], None]

# control-spec 3.24: the keys of the two HMACs, and the cookie's length.
_SERVER_HASH_KEY = b"Tor safe cookie authentication server-to-controller hash"
_CLIENT_HASH_KEY = b"Tor safe cookie authentication controller-to-server hash"
_COOKIE_LENGTH = 32


class CommandRefused(TorError):
    """Tor answered a command with an error. `status` is tor's (control-spec section 4)."""

    def __init__(self, keyword: str, reply: Reply) -> None:
        # Only the keyword: arguments may hold keys.
        super().__init__(f"tor refused {keyword}: {reply.status} {reply.text}")
        self.status = reply.status


class Subscription:
    """A callback that hears some events, until `cancel`."""

    def __init__(self, controller: Controller, names: frozenset[str], callback: EventCallback):
        self._controller = controller
        self.names = names
        self.callback = callback

    async def cancel(self) -> None:
        """Stop at once; tor is told too, if it is still there."""
        await self._controller._unsubscribe(self)


class Controller:
    """A control connection. Make one with `connect`, then `authenticate`.

    `closed` is done when the connection has ended: with None after `close`, else with the
    TorError that says why.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed: asyncio.Future[TorError | None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = ReplyParser()
        self._waiting: deque[tuple[asyncio.Future[Reply], ReplyCallback | None]] = deque()
        self._subscriptions: list[Subscription] = []
        self._set_events = asyncio.Lock()

    @classmethod
    async def connect(cls, address: str) -> Controller:
        """Connect to `unix:/path` or `HOST:PORT`. Raises TorError if nobody is there."""
        loop = asyncio.get_running_loop()
        controller = cls(address)
        path_or_host, port = parse_endpoint(address)
        try:
            if port is None:
                await loop.create_unix_connection(lambda: _Link(controller), path_or_host)
            else:
                await loop.create_connection(lambda: _Link(controller), path_or_host, port)
        except OSError as error:
            raise TorError(
                f"cannot reach tor's control port at {address}: {error.strerror or error}",
                "check that this tor is running",
            ) from None
        return controller

    async def __aenter__(self) -> Controller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def authenticate(self) -> None:
        """Log in, by what tor offers: null, SAFECOOKIE or COOKIE, in that order.

        Raises TorError if tor refuses, HostError if the cookie cannot be read.
        """
        methods, cookie_file = await self._auth_methods()
        if "NULL" in methods:
            await self.command("AUTHENTICATE")
        elif "SAFECOOKIE" in methods:
            await self._authenticate_safely(_read_cookie(cookie_file))
        elif "COOKIE" in methods:
            await self.command(f"AUTHENTICATE {_read_cookie(cookie_file).hex()}")
        else:
            raise TorError(
                "tor's control port takes a password only",
                "set CookieAuthentication 1 in its torrc",
            )

    async def command(self, line: str, data: str | None = None) -> Reply:
        """Send one command and wait for its reply.

        Raises CommandRefused for any status but 2xx, TorError if the connection ends first,
        UsageError if `line` is not one line.
        """
        reply = await self.send(line, data)
        if not reply.is_ok:
            raise CommandRefused(line.split(" ", 1)[0], reply)
        return reply

    def send(
        self, line: str, data: str | None = None, *, on_reply: ReplyCallback | None = None
    ) -> asyncio.Future[Reply]:
        """Send one command now; its reply, whatever the status, comes as a future.

        `on_reply` is called with it before anything later is read, also if nobody waits for the
        future any more; a TorError that it raises ends the connection. The future raises TorError
        if the connection ends first."""
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        encoded = encode_command(line, data)
        if self.closed.done() or self._transport is None:
            waiter.set_exception(self._gone())
        else:
            self._waiting.append((waiter, on_reply))
            self._transport.write(encoded)
        return waiter

    def tell(self, line: str) -> None:
        """Send one command now, whose reply does not matter. For event callbacks."""
        self.send(line).add_done_callback(lambda reply: reply.cancelled() or reply.exception())

    async def get_info(self, *keys: str) -> dict[str, str]:
        """The values of GETINFO keys, all of them or CommandRefused."""
        reply = await self.command("GETINFO " + " ".join(_word(key) for key in keys))
        values: dict[str, str] = {}
        for line in reply.lines[:-1]:
            key, separator, value = line.text.partition("=")
            if not separator:
                raise TorError(f"tor answered GETINFO without a value for {key[:80]}")
            values[key] = value if line.data is None else line.data
        if missing := [key for key in keys if key not in values]:
            raise TorError(f"tor did not answer GETINFO {missing[0]}")
        return values

    async def get_conf(self, key: str) -> list[str]:
        """The values of one option, in order; empty if it stands at its default."""
        reply = await self.command(f"GETCONF {_word(key)}")
        values = []
        for line in reply.lines:
            name, separator, value = line.text.partition("=")
            if name.lower() != key.lower():
                raise TorError(f"tor did not answer GETCONF {key}")
            if separator:
                values.append(unquote(value) if value.startswith('"') else value)
        return values

    async def set_conf(self, options: Mapping[str, str | Sequence[str]]) -> None:
        """Set options at run time, all or none; a sequence sets a repeatable option."""
        words = []
        for key, value in options.items():
            values = [value] if isinstance(value, str) else value
            words += [f"{_word(key)}={quote(item)}" for item in values]
        await self.command("SETCONF " + " ".join(words))

    async def reset_conf(self, *keys: str) -> None:
        """Set options back to their defaults."""
        await self.command("RESETCONF " + " ".join(_word(key) for key in keys))

    async def subscribe(self, names: Iterable[str], callback: EventCallback) -> Subscription:
        """Call `callback` with every event of these names from now on. It must not raise or block.

        Raises TorError if tor does not know one of the names.
        """
        subscription = Subscription(self, frozenset(names), callback)
        self._subscriptions.append(subscription)
        try:
            await self._tell_events()
        except BaseException:
            self._subscriptions.remove(subscription)
            raise
        return subscription

    async def close(self) -> None:
        """End the connection. Onion services made through it end with it."""
        self._lost(None)
        await asyncio.sleep(0)

    # -- inside ------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        try:
            for message in self._parser.feed(data):
                if isinstance(message, Event):
                    self._dispatch(message)
                else:
                    self._answer(message)
        except TorError as error:
            self._lost(error)

    def _answer(self, reply: Reply) -> None:
        if not self._waiting:
            raise TorError("tor's control port sent a reply that nobody asked for")
        waiter, on_reply = self._waiting[0]
        if on_reply is not None:
            on_reply(reply)  # may find that this is no answer: then nobody has got one
        self._waiting.popleft()
        if not waiter.done():
            waiter.set_result(reply)

    def _dispatch(self, event: Event) -> None:
        for subscription in tuple(self._subscriptions):
            if event.keyword not in subscription.names:
                continue
            try:
                subscription.callback(event)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"a callback for {event.keyword} failed", "exception": error}
                )

    def _lost(self, reason: TorError | None) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self._subscriptions.clear()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(self._gone())

    def _gone(self) -> TorError:
        reason = self.closed.result() if self.closed.done() else None
        detail = reason.detail if reason else f"the control connection to {self.address} is closed"
        return TorError(detail, reason.hint if reason else "")

    async def _tell_events(self) -> None:
        # One at a time, each with what is wanted when it is sent: the last word is the right one.
        async with self._set_events:
            wanted = sorted(set().union(*(item.names for item in self._subscriptions)))
            await self.command(" ".join(["SETEVENTS", *map(_word, wanted)]))

    async def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        with contextlib.suppress(TorError):
            await self._tell_events()

    async def _auth_methods(self) -> tuple[frozenset[str], Path | None]:
        reply = await self.command("PROTOCOLINFO 1")
        for line in reply.lines:
            positional, keywords = parse_arguments(line.text)
            if positional == ("AUTH",) and "METHODS" in keywords:
                cookie = keywords.get("COOKIEFILE")
                return frozenset(keywords["METHODS"].split(",")), Path(cookie) if cookie else None
        raise TorError("tor's control port does not say how to log in")

    async def _authenticate_safely(self, cookie: bytes) -> None:
        nonce = secrets.token_bytes(32)
        reply = await self.command(f"AUTHCHALLENGE SAFECOOKIE {nonce.hex()}")
        _, keywords = parse_arguments(reply.text)
        try:
            server_nonce = bytes.fromhex(keywords["SERVERNONCE"])
            server_hash = bytes.fromhex(keywords["SERVERHASH"])
        except (KeyError, ValueError):
            raise TorError("tor's answer to AUTHCHALLENGE cannot be read") from None
        message = cookie + nonce + server_nonce
        expected = hmac.digest(_SERVER_HASH_KEY, message, hashlib.sha256)
        if not hmac.compare_digest(expected, server_hash):
            raise TorError(
                "what answers on the control port does not know tor's cookie",
                "another program may be listening there",
            )
        answer = hmac.digest(_CLIENT_HASH_KEY, message, hashlib.sha256)
        await self.command(f"AUTHENTICATE {answer.hex()}")


class _Link(asyncio.Protocol):
    """The transport's side of a Controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._controller._transport = transport

    def data_received(self, data: bytes) -> None:
        self._controller._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        address = self._controller.address
        self._controller._lost(TorError(f"tor closed its control connection at {address}"))


def _word(text: str) -> str:
    if not text or any(char.isspace() or char in '="' for char in text):
        raise UsageError(f"{text!r} is no word of a tor command")
    return text


def _read_cookie(path: Path | None) -> bytes:
    """The cookie; exactly 32 bytes, so that no other file can be talked out of us."""
    if path is None:
        raise TorError("tor does not say where its cookie is")
    try:
        with path.open("rb") as file:
            cookie = file.read(_COOKIE_LENGTH + 1)
    except OSError as error:
        raise HostError(
            f"cannot read tor's cookie {path}: {error.strerror}",
            "run as the user of this tor, or join its group",
        ) from None
    if len(cookie) != _COOKIE_LENGTH:
        raise HostError(f"{path} is no tor cookie")
    return cookie
