"""Records every response of a page, as a machine: DevTools events in, commands out.

Each request is paused twice by Chromium's Fetch domain, at the browser's level: so frames, workers,
preflights and beacons are seen too. At the first pause it is let through or refused; at the second
its body is read as a stream, within limits, and then handed to the page. So the page gets exactly
what is recorded, and a replay of the recording gives it exactly the same again.

Invariant: every request that was let through is in `exchanges()`, in the order of asking; and after
`stop`, none is let through any more. Holds no socket and no clock; standard library only.

    asked --(response)--> reading --(end, or a limit)--> done
      |  \\--(redirect, error, no body)-------------------^
      \\-----(given up by the page, or never answered)----^  as UNANSWERED
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from .cdp import Fields, Handler, Refused, ignore
from .http import (
    download,
    fulfilment,
    has_body,
    header,
    piece,
    promised,
    request_parts,
    safe_headers,
)
from .limits import Limits, describe
from .pack import (
    ERRORS,
    MAX_CUTS,
    MAX_HEADERS,
    UNANSWERED,
    Cut,
    Exchange,
    Failure,
    Headers,
    is_method,
    is_url,
    plain,
)
from .sizes import KIB

READ_BYTES = 256 * KIB
"""One read of a body; a read answers when so much is there, or the end, or at a second read."""

FLUSH_SECONDS = 0.5
"""For a read to answer after the second one; it does not if there is nothing to answer."""

ENDS = frozenset({"page_seconds", "responses", "page_bytes", "head_bytes"})
"""Limits that end the whole recording."""


class Send(Protocol):
    """cdp.Connection.send, or a test's stand-in."""

    def __call__(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        then: Handler = ignore,
        refused: Refused = ignore,
    ) -> None: ...


@dataclass(slots=True)
class _Request:
    """One request under way, and in the end what came of it."""

    id: str
    method: str
    url: str
    headers: Headers
    body: bytes
    kind: str
    network_id: str
    since: float
    status: int = 0
    reason: str = ""
    answer_headers: Headers = ()
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    limit: str = ""
    most: int = 0
    stream: str = ""
    until: float = 0
    error: str = ""
    cut: str = ""
    flushed: bool = False
    done: bool = False
    holds: bool = True

    def exchange(self) -> Exchange:
        return Exchange(
            method=self.method,
            url=self.url,
            request_headers=self.headers,
            request_body=self.body,
            status=0 if self.error else self.status,
            reason="" if self.error else self.reason,
            headers=() if self.error else self.answer_headers,
            body=b"" if self.error else b"".join(self.pieces),
            error=self.error,
            cut=self.cut,
        )


class Recorder:
    """Feed it the events named below, and `tick` it now and then.

    Fetch.requestPaused -> paused, Network.loadingFailed -> failed,
    Network.responseReceivedExtraInfo -> cookies
    """

    def __init__(self, send: Send, limits: Limits, frame: str, clock: Callable[[], float]) -> None:
        self._send = send
        self._limits = limits
        self._frame = frame
        self._clock = clock
        self._requests: list[_Request] = []
        self._open: dict[str, _Request] = {}
        self._arrived: list[_Request] = []
        self._cookies: dict[tuple[str, int], list[str]] = {}
        self._total = 0  # bytes of bodies
        self._heads = 0  # bytes of all that is kept besides
        self.stopped = ""
        """The limit that ended the recording, once it has ended."""
        self.failure: Failure | None = None
        self.cuts: list[Cut] = []
        self.last_activity = clock()
        self.page_url = ""
        """The last address that the page itself (not a part of it) was asked for."""
        self.page_status = 0

    # --- what others ask -----------------------------------------------------------------------

    def exchanges(self) -> tuple[Exchange, ...]:
        """Everything so far. A request that was repeated with the same outcome is there once."""
        seen: dict[tuple[object, ...], None] = {}
        kept = []
        for exchange in (self._with_cookies(request) for request in self._requests):
            if exchange.outcome not in seen:
                seen[exchange.outcome] = None
                kept.append(exchange)
        return tuple(kept)

    def answered(self) -> Iterator[Exchange]:
        """What is finished, in the middle of a recording."""
        return (request.exchange() for request in self._requests if request.done)

    def arrived(self) -> tuple[Exchange, ...]:
        """What was finished since this was asked last, in the order in which it came."""
        arrived, self._arrived = self._arrived, []
        return tuple(self._with_cookies(request) for request in arrived)

    def _with_cookies(self, request: _Request) -> Exchange:
        exchange = request.exchange()
        values = self._cookies.get((request.network_id, exchange.status), [])
        set_cookie = safe_headers(("Set-Cookie", value) for value in values)
        return replace(exchange, headers=(exchange.headers + set_cookie)[:MAX_HEADERS])

    def waiting(self) -> int:
        """Requests that hold up the page: open, and not beyond anybody's patience."""
        now = self._clock()
        return sum(
            request.holds and now - request.since < self._limits.patience_seconds
            for request in self._open.values()
        )

    def reading(self) -> int:
        """Bodies that are just being read."""
        return sum(bool(request.stream) for request in self._open.values())

    def cut(self, limit: str, detail: str) -> None:
        """Notes that `limit` was reached, and what it stopped."""
        if len(self.cuts) < MAX_CUTS:
            self.cuts.append(Cut(limit, plain(f"{describe(self._limits, limit)}: {detail}")))

    def stop(self, limit: str = "patience_seconds") -> None:
        """Lets nothing through any more, and ends the bodies that are being read as they are.

        `limit` is why: it is noted for each of those bodies.
        """
        self.stopped = self.stopped or limit
        self.tick()

    def tick(self) -> None:
        """Cuts the bodies whose time is up."""
        now = self._clock()
        for request in list(self._open.values()):
            if not request.stream or (request.until > now and not self.stopped):
                continue
            if not request.cut:
                self._cut_body(request, self.stopped or "response_seconds")
            if not request.flushed:
                # The second read makes the first one answer at once, if it has anything.
                request.flushed = True
                request.until = now + FLUSH_SECONDS
                self._send("IO.read", {"handle": request.stream, "size": 1})
            elif request.until <= now:
                self._hand_over(request)

    # --- first pause: may it go out? -----------------------------------------------------------

    def paused(self, event: Fields) -> None:
        self.last_activity = self._clock()
        if "responseStatusCode" in event or "responseErrorReason" in event:
            self._answered(event)
        else:
            self._asked(event)

    def _asked(self, event: Fields) -> None:
        identity = event.text("requestId")
        method, url, headers, body = request_parts(event.fields("request"))
        if url.startswith(("data:", "blob:")):  # they carry their own content
            self._let_through(identity)
        elif not self._may_ask(method, url):
            self._refuse(identity)
        else:
            body = self._bounded(body, url)
            if not self._has_room(len(url) + _size(headers) + len(body)):
                self._refuse(identity)
                return
            asked = _Request(
                id=identity,
                method=method,
                url=url,
                headers=headers,
                body=body,
                kind=event.text("resourceType"),
                network_id=event.text("networkId"),
                since=self._clock(),
            )
            self._requests.append(asked)
            self._open[identity] = asked
            if self._is_page(event):
                self.page_url, self.page_status = url, 0
            self._let_through(identity)

    def _may_ask(self, method: str, url: str) -> bool:
        if self.stopped or not is_url(url) or not is_method(method):
            return False
        if len(self._requests) >= self._limits.responses:
            self.cut("responses", "the page asks for more")
            self.stop("responses")
            return False
        return True

    def _has_room(self, size: int) -> bool:
        """Counts bytes that are to be kept besides bodies; where they are too many the recording ends."""
        if self._heads + size > self._limits.head_bytes:
            self.cut("head_bytes", "what the page asks, and what it is told about the answers")
            self.stop("head_bytes")
            return False
        self._heads += size
        return True

    def _bounded(self, body: bytes, url: str) -> bytes:
        if len(body) <= self._limits.request_bytes:
            return body
        self.cut("request_bytes", f"what was sent to {url}")
        return b""

    def _is_page(self, event: Fields) -> bool:
        return event.text("resourceType") == "Document" and event.text("frameId") == self._frame

    # --- second pause: what came back? ---------------------------------------------------------

    def _answered(self, event: Fields) -> None:
        identity = event.text("requestId")
        request = self._open.get(identity)
        if request is None:
            self._let_through(identity)
            return
        request.since = self._clock()
        request.status = int(event.number("responseStatusCode"))
        request.reason = plain(event.text("responseStatusText"))
        headers = safe_headers(
            (header.text("name"), header.text("value")) for header in event.each("responseHeaders")
        )
        request.answer_headers = headers if self._has_room(_size(headers)) else ()
        if self._is_page(event):
            self.page_status = request.status
        if error := event.text("responseErrorReason"):
            request.error = error if error in ERRORS else "Failed"
            self._finish(request)
            self._let_through(identity)
        elif not 100 <= request.status <= 999:
            request.error = "Failed"
            self._finish(request)
            self._refuse(identity)
        elif self._is_page(event) and (what := download(request.status, request.answer_headers)):
            self._fail_download(request, what)
        elif header(request.answer_headers, "content-type").startswith("text/event-stream"):
            # It has no end; the page may listen to it, but it is not part of what is kept.
            request.holds = False
            self._let_through(identity)
        elif has_body(request.method, request.status, request.answer_headers):
            self._take_body(request)
        else:
            self._finish(request)
            self._let_through(identity)

    def _fail_download(self, request: _Request, what: str) -> None:
        self.failure = Failure("download", f"this address is a file to download ({what}), no page")
        request.error = "Aborted"
        self._finish(request)
        self._refuse(request.id)

    def failed(self, event: Fields) -> None:
        """A request that the page gave up has no second pause."""
        for request in list(self._open.values()):
            if event.flag("canceled") and request.network_id == event.text("requestId"):
                self._give_up(request)

    def cookies(self, event: Fields) -> None:
        """Set-Cookie is kept from the Fetch domain; only this event of the Network domain has it."""
        values = event.fields("headers").texts()
        lines = [v for n, v in values.items() if n.lower() == "set-cookie"]
        if lines and self._has_room(len(lines[0])):  # several are one value, a line each
            key = event.text("requestId"), int(event.number("statusCode"))
            self._cookies[key] = lines[0].split("\n")

    def _give_up(self, request: _Request) -> None:
        if request.stream:
            self._send("IO.close", {"handle": request.stream})
        request.error = UNANSWERED
        self._finish(request)

    # --- bodies --------------------------------------------------------------------------------

    def _take_body(self, request: _Request) -> None:
        request.limit = "media_bytes" if request.kind == "Media" else "response_bytes"
        request.most = getattr(self._limits, request.limit)
        request.until = self._clock() + self._limits.response_seconds
        self._send(
            "Fetch.takeResponseBodyAsStream",
            {"requestId": request.id},
            then=partial(self._on_stream, request),
            refused=lambda _: self._give_up(request),
        )

    def _on_stream(self, request: _Request, answer: Fields) -> None:
        request.stream = answer.text("stream")
        self._read(request)

    def _read(self, request: _Request) -> None:
        self._send(
            "IO.read",
            {"handle": request.stream, "size": READ_BYTES},
            then=partial(self._on_piece, request),
            refused=lambda _: self._on_broken(request),
        )

    def _on_piece(self, request: _Request, answer: Fields) -> None:
        if request.done:
            return
        self.last_activity = request.since = self._clock()
        self._keep(request, piece(answer))
        if answer.flag("eof"):
            if request.size < promised(request.answer_headers):
                self._cut_body(request, "connection")
            self._hand_over(request)
        elif request.cut:
            self._hand_over(request)
        else:
            self._read(request)

    def _keep(self, request: _Request, piece: bytes) -> None:
        """Keeps of a piece what the limits have room for."""
        room_here = request.most - request.size
        room_page = self._limits.page_bytes - self._total
        kept = piece[: max(0, min(room_here, room_page))]
        request.pieces.append(kept)
        request.size += len(kept)
        self._total += len(kept)
        if len(piece) > room_page:
            self._cut_body(request, "page_bytes")
            self.stop("page_bytes")
        elif len(piece) > room_here:
            self._cut_body(request, request.limit)

    def _on_broken(self, request: _Request) -> None:
        """The connection broke in the middle: the page gets what there is, as it would have."""
        if not request.done:
            self._cut_body(request, "connection")
            self._hand_over(request)

    def _cut_body(self, request: _Request, limit: str) -> None:
        """Marks a body as cut; what ended the whole recording is noted once, not for each."""
        if not request.cut:
            request.cut = limit
            if limit not in ENDS or limit != self.stopped:
                self.cut(limit, request.url)

    def _hand_over(self, request: _Request) -> None:
        stream = request.stream
        self._finish(request)
        self._send("IO.close", {"handle": stream})
        self._send(
            "Fetch.fulfillRequest",
            fulfilment(request.id, request.exchange()),
            refused=lambda _: self._refuse(request.id),
        )

    # --- ends ----------------------------------------------------------------------------------

    def finish(self) -> None:
        """No more events will come: what is open stays unanswered."""
        for request in list(self._open.values()):
            self._give_up(request)

    def _finish(self, request: _Request) -> None:
        request.done = True
        request.stream = ""
        request.pieces = [b"".join(request.pieces)]
        self._arrived.append(request)
        self._open.pop(request.id, None)
        self.last_activity = self._clock()

    def _let_through(self, identity: str) -> None:
        self._send("Fetch.continueRequest", {"requestId": identity})

    def _refuse(self, identity: str) -> None:
        self._send("Fetch.failRequest", {"requestId": identity, "errorReason": "BlockedByClient"})


def _size(headers: Headers) -> int:
    """Bytes, nearly: these are what Chromium made of bytes."""
    return sum(len(name) + len(value) for name, value in headers)
