"""Opens a page pack in the user's Chromium with the network off.

Every request is answered from the pack or blocked; nothing is ever fetched. While a page is still coming,
a request waits for its answer until the whole page is there. Three things see to
that, each enough alone: the Fetch domain at the browser's level pauses all requests; the only proxy
that Chromium knows is dead; and its network namespace has no network in it (jail.py).
One live request would tell the reader's guard which page was opened.
"""

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Self

from bento.errors import HostError
from bento.guest.chromium import ENVIRONMENT, HEADLESS

from . import jail
from .answers import Answers
from .cdp import CdpError, ChromiumGoneError, Fields
from .chromium import Chromium
from .http import fulfilment, request_parts
from .launch import launch, user_agent
from .limits import LIMITS, Limits
from .pack import MAX_EXCHANGES, UNANSWERED, Exchange, Pack
from .stillness import is_still
from .tab import Tab

MAX_MISSING = 1000
"""Blocked addresses that are remembered; all are counted."""

Coming = SimpleQueue[Iterable[Exchange] | None]
"""What comes of a page, from another thread; None when it is whole."""

MAX_EARLY = 2 * MAX_EXCHANGES
"""Requests that wait for their answers: more than a page can have; any further is blocked at once."""

STALLED_SECONDS = 2.0
"""A page that waits for a request which was never answered does not finish loading: this long
without another request, and it is taken as it is."""

ABSENT = Exchange(
    method="GET",
    url="http://absent.invalid/",
    status=404,
    reason="Not in the saved page",
    headers=(("Content-Type", "text/html; charset=utf-8"),),
    body=b"<!doctype html><title>Not saved</title><h1>This is not part of the saved page.</h1>"
    b"<p>Nothing was fetched. Go back, or fetch it with <code>bento browse</code>.</p>",
)
"""What a reader gets who follows a link out of the page, in a visible window."""


def available() -> bool:
    """Whether packs can be opened on this machine."""
    return not jail.missing()


class Replay:
    """A pack, opened. Use it in one thread, with `with`. With `coming` it is one that grows.

    Raises HostError if Chromium cannot be started, or ends in the middle.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        visible: bool = False,
        limits: Limits = LIMITS,
        coming: Coming | None = None,
    ) -> None:
        self.blocked = 0
        """Requests that the pack has no answer to."""
        self.missing: list[str] = []
        """Their addresses."""
        self._answers = Answers(pack.exchanges)
        self._visible = visible
        self._limits = limits
        self._coming = coming
        self._early: list[Fields] = []  # requests whose answer may still come
        self._held = 0
        self._last_request = time.monotonic()
        self._chromium = _start(pack, visible)
        try:
            self._tab = self._open(pack)
        except CdpError as error:
            self.close()
            raise _gone(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._chromium.close()

    def _open(self, pack: Pack) -> Tab:
        connection = self._chromium.connection
        connection.on("Fetch.requestPaused", self._on_request)
        connection.call("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
        tab = Tab(connection, self._limits)
        if self._visible:
            tab.call("Emulation.clearDeviceMetricsOverride")
        tab.navigate(pack.url)
        if not self._visible and self._coming is None:
            loaded, seconds = partial(self._is_loaded, tab), self._limits.page_seconds
            still = is_still(pack.exchanges)
            tab.complete(loaded, lambda: tab.is_broken, self._is_quiet, seconds, lambda: still)
        return tab

    # --- requests ------------------------------------------------------------------------------

    def _on_request(self, event: Fields) -> None:
        self._last_request = time.monotonic()
        identity, asked = event.text("requestId"), request_parts(event.fields("request"))
        answer = self._answers.find(*asked, exactly=self._coming is not None)
        if answer is None and self._coming is not None and len(self._early) < MAX_EARLY:
            self._early.append(event)
        elif answer is None:
            self._block(event, asked[1])
        elif answer.error == UNANSWERED:
            self._held += 1
        elif answer.error:
            self._fail(identity, answer.error)
        else:
            self._fulfil(identity, answer)

    def grow(self) -> None:
        """Takes what has come meanwhile, and answers those who waited for it."""
        while self._coming is not None and not self._coming.empty():
            exchanges = self._coming.get()
            if exchanges is None:
                self._coming = None
            else:
                self._answers.add(exchanges)
            early, self._early = self._early, []
            for event in early:
                self._on_request(event)

    def _block(self, event: Fields, url: str) -> None:
        self.blocked += 1
        if len(self.missing) < MAX_MISSING:
            self.missing.append(url)
        if self._visible and event.text("resourceType") == "Document":
            self._fulfil(event.text("requestId"), ABSENT)
        else:
            self._fail(event.text("requestId"), "BlockedByClient")

    def _fail(self, identity: str, reason: str) -> None:
        self._chromium.connection.send(
            "Fetch.failRequest", {"requestId": identity, "errorReason": reason}
        )

    def _fulfil(self, identity: str, answer: Exchange) -> None:
        """An answer that Chromium will not take (an odd header) leaves the request blocked."""
        self._chromium.connection.send(
            "Fetch.fulfillRequest",
            fulfilment(identity, answer),
            refused=lambda _: self._fail(identity, "Failed"),
        )

    # --- the page ------------------------------------------------------------------------------

    def _is_loaded(self, tab: Tab) -> bool:
        return tab.loaded or (self._held > 0 and self._is_quiet(STALLED_SECONDS))

    def _is_quiet(self, seconds: float) -> bool:
        return time.monotonic() - self._last_request >= seconds

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return self._part(self._tab.picture)

    def mhtml(self) -> bytes:
        """The page, as its scripts left it, as MHTML: for browsers that know no packs."""
        return self._part(self._tab.mhtml)

    def _part(self, make: Callable[[float], bytes]) -> bytes:
        try:
            return make(self._limits.extras_seconds)
        except CdpError as error:
            raise _gone(error) from error

    def watch(self) -> None:
        """Goes on answering until the reader closes the window."""

        def closed() -> bool:
            self.grow()
            return self._tab.closed

        try:
            self._tab.wait(closed, float("inf"))
        except ChromiumGoneError:
            return
        except CdpError as error:
            raise _gone(error) from error


def _start(pack: Pack, visible: bool) -> Chromium:
    display = jail.find_display(os.environ) if visible else None
    if visible and display is None:
        raise HostError(
            "there is no display to open the page on", "page.png and page.mhtml show it too"
        )
    environment = {**ENVIRONMENT, **(display.environment if display else {})}
    flags = (*(display.flags if display else HEADLESS), user_agent(pack.software))
    try:
        return launch(jail.command(display), flags, environment, jail.PROFILE)
    except OSError as error:
        raise HostError(f"Chromium cannot be started: {error.strerror}") from error


def _gone(error: CdpError) -> HostError:
    return HostError(f"the saved page could not be shown: {error}")


def open_window(pack: Pack, coming: Coming | None = None) -> int:
    """Opens the page in a window until the reader closes it; returns how many were blocked.

    Raises HostError, as when there is no display.
    """
    with Replay(pack, visible=True, coming=coming) as page:
        page.watch()
        return page.blocked
