"""Browser, the part at home: the function's upload, its arguments, and what comes back.

Knows nothing of circuits and sessions: an answer is anything that yields bytes.
"""

from collections.abc import AsyncIterable, Callable, Collection
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from bento.errors import FunctionError, HostError, RemoteProtocolError, UsageError
from bento.functions.uploads import packed

from . import replay, warc
from .guest import EXTRAS
from .pack import Pack, PackError, is_url
from .packing import PackReader
from .parts import PartsReader
from .sizes import SIZE_SETS, START_SETS

GUEST_FILES = (
    "__init__.py", "cdp.py", "chromium.py", "entry.py", "failures.py", "guest.py", "http.py", "leaving.py",
    "limits.py", "pack.py", "packing.py", "parts.py", "record.py", "sizes.py", "stillness.py", "tab.py",
)  # fmt: skip
"""What the function consists of; inside the upload they are the package `browser`."""

SHARED = {"sealing.py": "bento.functions.dropbox"}
"""What another function's package has, and Browser's has a copy of."""

URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"
"""What may stand in an address as it is (RFC 3986); a % too, for it may be encoded already."""


@cache
def build_upload() -> bytes:
    """The function as it travels. It takes 50 ms to make: ask before a circuit waits for it."""
    return packed("bento.functions.browser", GUEST_FILES, shared=SHARED, entry="entry")


def arguments(
    url: str, padding: str = "x2", timing: str = "x2", extras: str = "none"
) -> dict[str, str]:
    """The arguments of the function's `main`, checked. `url` may come without its https://, and
    in any script. Raises UsageError.
    """
    address = _ascii(url if "://" in url else f"https://{url}")
    if not is_url(address):
        raise UsageError(
            "this is not an address that can be fetched", "write it as https://HOST/PATH"
        )
    _known("padding", padding, SIZE_SETS)
    _known("timing", timing, START_SETS)
    _known("extras", extras, EXTRAS)
    return {"url": address, "padding": padding, "timing": timing, "extras": extras}


def _ascii(url: str) -> str:
    """An address as it goes over the wire: its name in IDNA, the rest in %XX; "" if it has none."""
    try:
        parts = urlsplit(url)
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except ValueError:  # also of IDNA: no such name
        return ""
    return quote(urlunsplit(parts._replace(netloc=host)), safe=URL_CHARACTERS)


def _known(name: str, word: str, words: Collection[str]) -> None:
    if word not in words:
        raise UsageError(f"there is no {name} {word!r}", f"one of: {', '.join(words)}")


async def read_pack(answer: AsyncIterable[bytes], padding: str = "x2") -> Pack:
    """The pack that a session yields, see `read_answer`."""
    pack, _ = await read_answer(answer, padding)
    return pack


async def read_answer(answer: AsyncIterable[bytes], padding: str = "x2") -> tuple[Pack, int]:
    """(the pack that a session yields, the size it had); never holds more than the largest answer.

    Returns with the last byte, without waiting for the session's end: that is a round trip away.
    Raises RemoteProtocolError if it is no pack, or not of the size that `padding` should give.
    """
    return await _read(PackReader(padding), answer)


async def read_parts(
    answer: AsyncIterable[bytes], tell: Callable[[Pack], object]
) -> tuple[Pack, int]:
    """The same of an answer in parts, each of which `tell` hears of as soon as it is there."""
    return await _read(PartsReader(tell), answer)


async def _read(reader: PackReader | PartsReader, answer: AsyncIterable[bytes]) -> tuple[Pack, int]:
    try:
        async for piece in answer:
            reader.feed(piece)
            if reader.is_whole:
                break
        return reader.finish(), reader.size
    except PackError as error:
        raise RemoteProtocolError(
            f"the box did not send a page pack: {error}", "try another box"
        ) from error


def check(pack: Pack) -> None:
    """Raises FunctionError if the page could not be fetched, or is the server's error page."""
    if pack.failure:
        hint = "its error page is in the pack" if pack.failure.kind == "http" else ""
        raise FunctionError(pack.failure.detail, hint)


def save(pack: Pack, directory: Path, page: replay.Replay | None = None) -> list[Path]:
    """Writes page.warc, page.mhtml and page.png; returns those that could be made.

    The last two are made here by replaying the pack (in `page`, if it is open already): then they show
    what the archive holds. Where that cannot be done they are the box's word for it, if it was asked
    (`extras`).
    Raises HostError if the directory cannot be written.
    """
    parts = {"page.warc": warc.archive(pack), "page.mhtml": pack.mhtml, "page.png": pack.picture}
    parts |= _made_of(page) if page else _made_here(pack)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [_write(directory / name, content) for name, content in parts.items() if content]
    except OSError as error:
        raise HostError(f"the page cannot be saved in {directory}: {error.strerror}") from error


def _made_here(pack: Pack) -> dict[str, bytes]:
    """What replaying the pack gives: nothing without a page or a Chromium, or if it hangs."""
    if not (pack.status and replay.available()):
        return {}
    try:
        with replay.Replay(pack) as page:
            return _made_of(page)
    except HostError:
        return {}


def _made_of(page: replay.Replay) -> dict[str, bytes]:
    return {"page.mhtml": page.mhtml(), "page.png": page.picture()}


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
