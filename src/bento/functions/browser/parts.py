"""A page in parts, each sent as soon as it is there: for a reader under Cover, where nobody sees sizes and
moments, so that nothing has to wait for the whole page.

    answer = packs, one after the other, each as packing.encode makes it without padding
    pack   = exchanges that came since the one before; the last one has none, and all that is said of the page

Exchanges stand in the order in which they came. Both halves share this.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from .pack import MAX_EXCHANGES, Exchange, Pack, PackError, must
from .packing import MAX_CONTENT_BYTES, PackReader, encode
from .sizes import MAX_ANSWER_BYTES


class PartsSender:
    """A thread of its own sends, so that a slow line does not hold up the page."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._given: set[tuple[object, ...]] = set()
        self._waiting: queue.SimpleQueue[Pack | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def give(self, part: Pack) -> None:
        """Sends those exchanges of `part` that were not sent before; does not wait."""
        fresh = {e.outcome: e for e in part.exchanges if e.outcome not in self._given}
        if fresh:
            self._given.update(fresh)
            self._waiting.put(replace(part, exchanges=tuple(fresh.values())))

    def finish(self, pack: Pack) -> None:
        """`pack` is the whole page. Returns when all of it was sent."""
        self.give(replace(pack, picture=b"", mhtml=b""))
        self._waiting.put(replace(pack, exchanges=()))
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (pack := self._waiting.get()) is not None:
            try:
                self._send(b"".join(encode(pack, "none")))
            except PackError:
                pass  # larger than a pack may be: it is missing then, and the rest is not


class PartsReader:
    """Takes the answer in pieces of any size, and `tell`s each part when it is whole. Holds one page at
    most. The box is not trusted: any bytes give parts or a PackError."""

    def __init__(self, tell: Callable[[Pack], object] = lambda part: None) -> None:
        self._tell = tell
        self._part = PackReader("none")
        self._content = 0
        self._exchanges: list[Exchange] = []
        self._last: Pack | None = None
        self.size = 0
        """Bytes that came so far."""

    @property
    def is_whole(self) -> bool:
        """Whether the last part is there."""
        return self._last is not None

    def feed(self, data: bytes) -> None:
        """Raises PackError as soon as the bytes cannot become a page any more."""
        self.size += len(data)
        must(self.size <= MAX_ANSWER_BYTES, "the answer is larger than any page")
        while data:
            must(not self.is_whole, "something follows the last part")
            count = self._part.missing
            self._part.feed(data[:count])
            data = data[count:]
            if self._part.is_whole:
                self._take(self._part)
                self._part = PackReader("none")

    def finish(self) -> Pack:
        """The page, once the answer has ended. Raises PackError."""
        must(self._last, "the answer ended too early")
        assert self._last is not None
        return replace(self._last, exchanges=tuple(self._exchanges))

    def _take(self, whole: PackReader) -> None:
        part = whole.finish()
        self._content += whole.content
        must(self._content <= MAX_CONTENT_BYTES, "the parts are larger than any page")
        self._exchanges += part.exchanges
        must(len(self._exchanges) <= MAX_EXCHANGES, "too many exchanges")
        if not part.exchanges:
            self._last = part
        self._tell(part)
