"""A page in a window of the user's Chromium that grows while the page is still coming.

A thread of its own drives the window: it waits for Chromium, and whoever adds to it for the network.
"""

import threading
from dataclasses import replace
from queue import SimpleQueue

from bento.errors import HostError

from .pack import Pack
from .replay import Coming, open_window


class GrowingWindow:
    """`add` parts (parts.py) to it, then `wait` for the reader to close it."""

    def __init__(self) -> None:
        self._coming: Coming = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: HostError | None = None

    def add(self, part: Pack) -> None:
        """The first one opens the window; after the last one, which is empty, nothing more will come."""
        if part.exchanges and self._thread is None:
            page = replace(part, exchanges=())
            self._thread = threading.Thread(target=self._show, args=(page,), daemon=True)
            self._thread.start()
        self._coming.put(part.exchanges or None)

    def wait(self) -> None:
        """Until the reader has closed it. Raises HostError if it could not be shown."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _show(self, page: Pack) -> None:
        try:
            open_window(page, self._coming)
        except HostError as error:
            self._error = error
