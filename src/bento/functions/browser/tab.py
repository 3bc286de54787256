"""One page in a Chromium: open it, know when it is finished, measure it, take its picture.

Used by both halves, so that a page is recorded and replayed by the same rules. The tab lives in a
browser context of its own, and that context alone has the way out that the caller names.
Standard library only.
"""

import time
from collections.abc import Callable, Mapping

from bento.guest.chromium import DEAD_PROXY, HEIGHT, WIDTH

from .cdp import CdpError, ChromiumGoneError, Connection, Fields, Handler
from .limits import Limits

TICK_SECONDS = 0.02
"""How often a waiting tab looks at the clock."""

PAINTED = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(0))))"
"""Resolves when the page has been laid out and painted once more."""

PAINT_SECONDS = 2.0

VIEWS = 2
"""A page that has grown since it was shown is shown once more; some grow without end."""

LAZY_SECONDS = 0.15
"""Once a part of the page is in view, what is loaded lazily has been asked for within this time."""


Done = Callable[[], bool]


class Tab:
    """A blank page. Set handlers first, then `navigate`. Raises CdpError."""

    def __init__(self, connection: Connection, limits: Limits, proxy: str = DEAD_PROXY) -> None:
        self._connection = connection
        self._limits = limits
        self.loaded = False
        self.crashed = False
        self.error = ""
        """Chromium's name for what went wrong with the page itself, as net::ERR_TIMED_OUT."""
        self.download = ""
        """The address of a download that the page turned out to be."""
        self.closed = False
        context = connection.call(
            "Target.createBrowserContext",
            {"proxyServer": proxy, "proxyBypassList": "<-loopback>"},
        ).text("browserContextId")
        self.frame = connection.call(
            "Target.createTarget", {"url": "about:blank", "browserContextId": context}
        ).text("targetId")
        self.session = connection.call(
            "Target.attachToTarget", {"targetId": self.frame, "flatten": True}
        ).text("sessionId")
        self._set_up(context)

    def _set_up(self, context: str) -> None:
        self.on("Page.loadEventFired", self._on_load)
        self.on("Page.frameNavigated", self._on_navigated)
        self.on("Page.javascriptDialogOpening", self._on_dialog)
        self.on("Inspector.targetCrashed", self._on_crash)
        self._connection.on("Browser.downloadWillBegin", self._on_download)
        self._connection.on("Target.detachedFromTarget", self._on_detached)
        # Sent together, and in order: what follows them finds all of it done.
        self._connection.send(
            "Browser.setDownloadBehavior",
            {"behavior": "deny", "browserContextId": context, "eventsEnabled": True},
            refused=self._on_refused,
        )
        self._send("Page.enable")
        self._send("Inspector.enable")
        # The Network domain would keep bodies; they are taken as they come, so it gets no room.
        self._send("Network.enable", {"maxTotalBufferSize": 1, "maxResourceBufferSize": 1})
        self._send(*_window(HEIGHT))

    def on(self, event: str, handler: Handler) -> None:
        self._connection.on(event, handler, self.session)

    def _send(self, method: str, params: Mapping[str, object] | None = None) -> None:
        self._connection.send(method, params, session=self.session, refused=self._on_refused)

    def call(
        self, method: str, params: Mapping[str, object] | None = None, timeout: float = 30
    ) -> Fields:
        return self._connection.call(method, params, session=self.session, timeout=timeout)

    # --- what happens to the page --------------------------------------------------------------

    def _on_load(self, _: Fields) -> None:
        self.loaded = True

    def _on_navigated(self, event: Fields) -> None:
        if event.fields("frame").text("id") == self.frame:
            self.loaded = False

    def _on_dialog(self, event: Fields) -> None:
        """Nobody is there to answer: dismissed, but a page may always be left."""
        accept = event.text("type") == "beforeunload"
        self._connection.send(
            "Page.handleJavaScriptDialog", {"accept": accept}, session=self.session
        )

    def _on_crash(self, _: Fields) -> None:
        self.crashed = True

    def _on_detached(self, event: Fields) -> None:
        if event.text("sessionId") == self.session:
            self.closed = True

    def _on_download(self, event: Fields) -> None:
        if event.text("frameId") == self.frame:
            self.download = event.text("url")

    def _on_navigate_answer(self, answer: Fields) -> None:
        self.error = answer.text("errorText")

    # --- what is done with it ------------------------------------------------------------------

    @property
    def is_broken(self) -> bool:
        """Whether there is no page, and will be none."""
        return bool(self.error or self.crashed or self.download)

    def navigate(self, url: str) -> None:
        """Sets out for `url`, without waiting."""
        self._connection.send(
            "Page.navigate",
            {"url": url},
            session=self.session,
            then=self._on_navigate_answer,
            refused=self._on_refused,
        )

    def _on_refused(self, message: str) -> None:
        self.error = message

    def wait(self, done: Done, seconds: float) -> bool:
        """Pumps until `done` says so, or the time is up; says which."""
        until = time.monotonic() + seconds
        while not done():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._connection.pump(min(left, TICK_SECONDS))
        return True

    def resize(self, height: int) -> None:
        self.call(*_window(height))

    def complete(
        self,
        is_loaded: Done,
        is_over: Done,
        is_quiet: Callable[[float], bool],
        seconds: float,
        is_still: Done = lambda: False,
    ) -> bool:
        """Waits until the page is loaded, was in view all the way down, and asks for nothing more.

        `is_over`: nothing more is to be expected of it; `is_quiet`: nothing was asked for in so
        many seconds; `is_still`: once loaded it cannot ask for more (stillness.py), so it need be neither
        watched nor shown. False if the time is up before. Raises ChromiumGoneError.
        """
        until = time.monotonic() + seconds
        if not self.wait(lambda: is_over() or is_loaded(), seconds):
            return False

        def done(silence: float = self._limits.quiet_seconds) -> bool:
            return is_over() or (is_loaded() and is_quiet(silence))

        if not is_over() and is_still():
            self._settled_height()  # what only its looks need is asked for before it is painted
            if not self.wait(lambda: done(self._limits.settle_seconds), until - time.monotonic()):
                return False
            if is_over() or is_still():
                return True
        for _ in range(VIEWS):
            seen = 0 if is_over() else self._bring_into_view(is_quiet)
            if not self.wait(done, until - time.monotonic()):
                return False
            if is_over() or self._settled_height() == seen:
                break
        return self.wait(done, until - time.monotonic())

    def _bring_into_view(self, is_quiet: Callable[[float], bool]) -> int:
        """Shows every part of the page for a moment, for what is loaded only when it is in view.

        The height that was shown; 0 if scripts hold the page up: it stays as it is then.
        """
        until = time.monotonic() + self._limits.stretch_seconds
        try:
            height = self.height(self._limits.stretch_seconds)
            if height <= HEIGHT:
                return height
            window = min(height, self._limits.picture_height)
            self.resize(window)
            for top in range(0, height, window):
                self._painted(f"scrollTo(0, {top}); ")
                shown = time.monotonic()
                self.wait(
                    lambda at=shown: (  # type: ignore[misc]
                        time.monotonic() - at >= LAZY_SECONDS and is_quiet(LAZY_SECONDS)
                    ),
                    until - shown,
                )
            self.resize(HEIGHT)
            self._painted("scrollTo(0, 0); ")
        except ChromiumGoneError:
            raise
        except CdpError:
            return 0
        return height

    def _settled_height(self) -> int:
        """The height once the page has been painted: on a busy machine, silence may only mean that
        it was not its turn. 0 if its scripts hold it up."""
        try:
            self._painted()
            return self.height(self._limits.stretch_seconds)
        except ChromiumGoneError:
            raise
        except CdpError:
            return 0

    def _painted(self, script: str = "") -> None:
        """Waits until the page has run `script` and been painted. Raises CdpError."""
        self.call(
            "Runtime.evaluate",
            {"expression": script + PAINTED, "awaitPromise": True},
            timeout=PAINT_SECONDS,
        )

    def height(self, seconds: float) -> int:
        """The page's whole height in pixels."""
        size = self.call("Page.getLayoutMetrics", timeout=seconds)
        return max(1, int(size.fields("cssContentSize").number("height")))

    def picture(self, seconds: float) -> bytes:
        """The whole page as PNG, down to the bounded height."""
        height = min(self.height(seconds), self._limits.picture_height)
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
        answer = self.call(
            "Page.captureScreenshot",
            {"format": "png", "captureBeyondViewport": True, "clip": clip},
            timeout=seconds,
        )
        return answer.binary("data")

    def mhtml(self, seconds: float) -> bytes:
        """The page as it stands, its scripts left out, as MHTML."""
        answer = self.call("Page.captureSnapshot", {"format": "mhtml"}, timeout=seconds)
        return answer.text("data").encode(errors="replace")

    def title_and_address(self) -> tuple[str, str]:
        """As the browser shows them, whatever the page's scripts say."""
        target = self._connection.call("Target.getTargetInfo", {"targetId": self.frame})
        info = target.fields("targetInfo")
        return info.text("title"), info.text("url")


def _window(height: int) -> tuple[str, dict[str, object]]:
    """The command that gives a page a window so many pixels high."""
    metrics: dict[str, object] = {"width": WIDTH, "height": height}
    metrics |= {"deviceScaleFactor": 1, "mobile": False}
    return "Emulation.setDeviceMetricsOverride", metrics
