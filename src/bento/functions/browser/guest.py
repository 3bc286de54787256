# /// bento
# image = "browser"
# memory = "1 GiB"
# pids = 320
# disk = "256 MiB"
# lifetime = "10m"
# cpu = 2.0
# chromium = true
# egress = ["*:*"]
# ///
"""Browser, the part that runs on a box: fetches a page with a real browser and sends it whole.

The answer is always one page pack (pack.py), whatever happens, of a public size and begun at a
public time (sizes.py): a failure looks like a page from outside. Nothing is sent before it but
the warm-up, which is the same for all, and nothing is logged: addresses are the user's.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from bento.guest.chromium import Program

from .cdp import CdpError, ChromiumGoneError, Fields
from .chromium import MEMORY, Chromium
from .failures import PROXY, ask_proxy, explain
from .limits import LIMITS, Limits
from .pack import Failure, Pack, PackError, is_url, plain
from .packing import encode, zeros
from .parts import PartsSender
from .record import Recorder
from .sizes import KIB, SIZE_SETS, START_SETS, start_time, warm_up
from .stillness import is_still
from .tab import Tab

EXTRAS = {"none": (), "mhtml": ("mhtml",), "png": ("png",), "all": ("mhtml", "png")}
"""Parts that the box makes for users without a Chromium of their own; they make the pack larger."""

BLOCK_BYTES = 64 * KIB

NO_ADDRESS = "http://invalid.invalid/"
"""Stands in a pack for what is none (RFC 2606)."""

STOP_SECONDS = 1.0
"""For the bodies that are being read when the page is cut, to be ended."""

Start = Callable[[], Program]

Tell = Callable[[Pack], object]
"""Hears of a page what has come since it heard last."""

_turn = threading.Lock()
"""One Chromium at a time: the manifest's memory has room for one."""


class Api(Protocol):
    def send(self, data: bytes) -> object: ...
    def chromium(self) -> Program: ...


def main(
    api: Api,
    url: str,
    padding: str = "x2",
    timing: str = "x2",
    extras: str = "none",
    parts: bool = False,
) -> None:
    """Fetches `url` and sends it as a page pack; with `parts` each response as soon as it is there, of its
    own size, which is for readers under Cover only (parts.py).

    padding: the set of sizes (x2, x1.5, 1MB, 7MB, none); timing: the set of starts (x2, fixed, none);
    extras: none, mhtml, png or all. Raises ValueError for another word, before anything is done.
    """
    started = time.monotonic()
    for word, words in ((padding, SIZE_SETS), (timing, START_SETS), (extras, EXTRAS)):
        if word not in words:
            raise ValueError(f"{plain(word)!r} is none of {', '.join(words)}")
    if parts:
        _send_parts(api, url, EXTRAS[extras])
        return
    for block in in_blocks(zeros(warm_up(padding))):
        api.send(block)
    with ExitStack() as afterwards:
        answer = _answer(api.chromium, url, padding, EXTRAS[extras], afterwards)
        ready = time.monotonic() - started
        time.sleep(start_time(timing, ready) - ready)
        for block in in_blocks(answer):
            api.send(block)


def in_blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of one size: how they are framed on their way must tell nothing
    either of where the page ends and the padding begins."""
    block = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        while view:
            room = BLOCK_BYTES - len(block)
            block += view[:room]
            view = view[room:]
            if len(block) == BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    if block:
        yield bytes(block)


def _answer(
    start: Start, url: str, padding: str, extras: tuple[str, ...], afterwards: ExitStack
) -> list[bytes]:
    """A fault of this very program must not look otherwise from outside than a page either."""
    try:
        return encode(fetch(start, url, extras, LIMITS, afterwards), padding)
    except PackError as error:
        kind, what = "size", f"the page could not be packed: {error}"
    except Exception as error:
        kind, what = "internal", _fault(error)
    return encode(_failed(url, kind, what), padding)


def _send_parts(api: Api, url: str, extras: tuple[str, ...]) -> None:
    sender = PartsSender(api.send)
    with ExitStack() as afterwards:
        try:
            pack = fetch(api.chromium, url, extras, LIMITS, afterwards, sender.give)
        except Exception as error:
            pack = _failed(url, "internal", _fault(error))
        sender.finish(pack)


def _fault(error: Exception) -> str:
    return f"a fault in the function: {type(error).__name__}: {error}"


def _failed(url: str, kind: str, what: str) -> Pack:
    """A pack that only tells why there is none."""
    known = url if is_url(url) else NO_ADDRESS
    return Pack(url=known, date=int(time.time()), failure=Failure(kind, plain(what)))


def fetch(
    start: Start,
    url: str,
    extras: tuple[str, ...],
    limits: Limits,
    afterwards: ExitStack,
    tell: Tell | None = None,
) -> Pack:
    """The page at `url`, as far as the limits allow; a Pack with a failure if there is none.

    The Chromium that `start` gave is killed by then; clearing up behind it, which takes longer, is left to
    `afterwards`.
    """
    if not is_url(url):
        return _failed(url, "address", "this is no http or https address in printable ASCII")
    if not _turn.acquire(timeout=limits.page_seconds):
        return _failed(url, "busy", "the function is busy with another page")
    try:
        return _fetch(start, url, extras, limits, afterwards, tell)
    finally:
        _turn.release()


def _fetch(
    start: Start,
    url: str,
    extras: tuple[str, ...],
    limits: Limits,
    afterwards: ExitStack,
    tell: Tell | None,
) -> Pack:
    blank = Pack(url=url, date=int(time.time()))
    try:
        chromium = Chromium(start())
    except OSError as error:
        return _failed(url, "image", f"the box cannot start Chromium: {error.strerror}")
    afterwards.enter_context(chromium)
    try:
        return _Visit(chromium, limits, blank, tell).run(extras)
    except ChromiumGoneError:
        return _failed(url, "crash", chromium.obituary())
    except CdpError as error:
        return _failed(url, "crash", str(error))
    finally:
        chromium.kill()


class _Visit:
    """One page, from a fresh Chromium to a Pack."""

    def __init__(self, chromium: Chromium, limits: Limits, blank: Pack, tell: Tell | None) -> None:
        self._limits = limits
        self._blank = blank
        self._tell = tell
        self._connection = connection = chromium.connection
        self._software = ""
        connection.send("Browser.getVersion", then=self._on_version)
        stages = [{"urlPattern": "*", "requestStage": stage} for stage in ("Request", "Response")]
        connection.send("Fetch.enable", {"patterns": stages}, refused=self._on_unrecorded)
        self._tab = tab = Tab(connection, limits, PROXY)
        self._recorder = Recorder(connection.send, limits, tab.frame, time.monotonic)
        connection.on("Fetch.requestPaused", self._recorder.paused)
        tab.on("Network.loadingFailed", self._recorder.failed)
        tab.on("Network.responseReceivedExtraInfo", self._recorder.cookies)

    def _on_version(self, answer: Fields) -> None:
        self._software = answer.text("product")

    def _on_unrecorded(self, refusal: str) -> None:
        raise CdpError(f"Chromium refused to be recorded: {refusal}")

    def run(self, extras: tuple[str, ...]) -> Pack:
        tab, seconds = self._tab, self._limits.page_seconds
        tab.navigate(self._blank.url)
        if not tab.complete(
            lambda: tab.loaded, self._is_over, self._is_quiet, seconds, self._is_still
        ):
            self._recorder.cut("page_seconds", "the page was still loading")
            self._recorder.stop("page_seconds")
        self._recorder.stop()
        self._tab.wait(self._has_read, STOP_SECONDS)
        broken = self._broken()
        title, address = self._tab.title_and_address()
        until = time.monotonic() + self._limits.extras_seconds
        parts = {} if broken else {name: self._part(name, until) for name in extras}
        self._recorder.finish()
        return replace(
            self._blank,
            final_url=address if is_url(address) else self._recorder.page_url,
            title="" if broken else plain(title),
            software=plain(self._software),
            failure=self._http_error() or broken,
            cuts=tuple(self._recorder.cuts),
            exchanges=self._recorder.exchanges(),
            mhtml=parts.get("mhtml", b""),
            picture=parts.get("png", b""),
        )

    # --- when is it finished? ------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Nothing more is to be expected of the page."""
        self._recorder.tick()
        if self._tell is not None:
            self._tell(
                replace(
                    self._blank,
                    software=plain(self._software),
                    exchanges=self._recorder.arrived(),
                )
            )
        ended = self._recorder.stopped or self._recorder.failure
        return bool(ended or self._tab.is_broken)

    def _is_quiet(self, seconds: float) -> bool:
        silence = time.monotonic() - self._recorder.last_activity
        return not self._recorder.waiting() and silence >= seconds

    def _is_still(self) -> bool:
        return is_still(self._recorder.answered())

    def _has_read(self) -> bool:
        self._recorder.tick()
        return not self._recorder.reading()

    # --- what came of it? ----------------------------------------------------------------------

    def _http_error(self) -> Failure | None:
        status = self._recorder.page_status
        if status < 400:
            return None
        return Failure("http", f"the server answered with HTTP status {status}")

    def _broken(self) -> Failure | None:
        """Why there is no page at all."""
        if self._recorder.failure:
            return self._recorder.failure
        if self._tab.crashed:
            return Failure("crash", f"the page ended its part of the browser ({MEMORY})")
        if self._tab.download:
            return Failure("download", "this address is a file to download, no page")
        if self._tab.error:
            return explain(self._tab.error, self._recorder.page_url, ask_proxy)
        if not self._recorder.page_status:
            seconds = f"{self._limits.page_seconds:g} s"
            return Failure("timeout", f"the server did not answer within {seconds}")
        return None

    def _part(self, name: str, until: float) -> bytes:
        """The page's MHTML or picture; nothing, and a cut, where a limit is in the way."""
        make = {"mhtml": self._tab.mhtml, "png": self._tab.picture}[name]
        limit = {"mhtml": "mhtml_bytes", "png": "picture_bytes"}[name]
        try:
            part = make(until - time.monotonic())
        except ChromiumGoneError:
            raise
        except CdpError:
            self._recorder.cut("extras_seconds", f"the page's {name}")
            return b""
        if len(part) > getattr(self._limits, limit):
            self._recorder.cut(limit, f"the page's {name}")
            return b""
        return part
