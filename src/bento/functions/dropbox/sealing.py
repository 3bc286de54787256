"""A file as it travels and is kept: sealed in blocks under a key that no box ever has. Pure.

    sealed = block 0, block 1 … block n       ChaCha20-Poly1305 (RFC 8439), 16 bytes of tag each
    block 0 = the header, 512 bytes           the file's size, SHA-256 and name; the padded size
    blocks 1…n = 64 KiB of content each, the last one 1 byte to 64 KiB (0 only if nothing is padded)
    content = the file, then zeros up to the padded size
    nonce = u88 number of the block, u8 1 for the last block, else 0

The last block is marked, so a file cut short, prolonged or put together anew is noticed (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015). A key seals one content ever: it is derived
from a random secret and the content's hash, so that a put repeated after the file was changed cannot
use a nonce twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bento.errors import RemoteProtocolError, UsageError

KEY = 32
TAG = 16
BLOCK = 64 * 1024
"""Plain bytes a block: the tag is 0.02 % of it, and one block is all that is ever held."""

HEADER = struct.Struct(">B7xQQ32sB255s200x")
VERSION = 1
MAX_SIZE = 1 << 50
MAX_NAME = 255  # bytes of UTF-8: what file systems take


@dataclass(frozen=True)
class Content:
    """What a file is, apart from its bytes. `padded` is its length in the box, tags not counted."""

    name: str
    size: int
    sha256: bytes
    padded: int

    def __post_init__(self) -> None:
        if not 0 <= self.size <= self.padded <= MAX_SIZE:
            raise ValueError("the sizes do not fit together")
        if len(self.name.encode()) > MAX_NAME or len(self.sha256) != hashlib.sha256().digest_size:
            raise ValueError("a name has 255 bytes at most and a hash 32")

    def to_text(self) -> str:
        """For notes of one's own."""
        return json.dumps([self.name, self.size, self.sha256.hex(), self.padded])

    @classmethod
    def from_text(cls, text: str) -> Content:
        name, size, sha256, padded = json.loads(text)
        return cls(name, size, bytes.fromhex(sha256), padded)

    @property
    def blocks(self) -> int:
        """How many blocks follow the header: at least one, so that there is a last one."""
        return max(1, -(-self.padded // BLOCK))

    @property
    def sealed_size(self) -> int:
        return HEADER.size + self.padded + TAG * (1 + self.blocks)


def sealed_offset(block: int) -> int:
    """Where a block begins in the sealed file."""
    return 0 if block == 0 else HEADER.size + TAG + (block - 1) * (BLOCK + TAG)


def derive_key(secret: bytes, content: Content) -> bytes:
    """The key that seals this content and no other."""
    about = content.sha256 + struct.pack(">QQ", content.size, content.padded)
    return hmac.digest(secret, b"bento sealed file v1\0" + about + content.name.encode(), "sha256")


def seal(key: bytes, content: Content, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The sealed blocks of a file that comes in `pieces` of any size.

    Raises UsageError at the end if the file was not what `content` says: it was changed meanwhile."""
    cipher = ChaCha20Poly1305(key)
    name = content.name.encode()
    header = HEADER.pack(VERSION, content.size, content.padded, content.sha256, len(name), name)
    yield cipher.encrypt(_nonce(0, False), header, None)
    number = 0
    for number, block in enumerate(_blocks(_checked(content, pieces), content), start=1):
        yield cipher.encrypt(_nonce(number, number == content.blocks), block, None)
    assert number == content.blocks


def _checked(content: Content, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The file's bytes and then its padding; raises before the last byte if they are others."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if size > content.size:
            break
        digest.update(piece)
        yield piece
    if size != content.size or digest.digest() != content.sha256:
        raise UsageError("the file was changed while it was read", "put it again")
    for start in range(content.size, content.padded, BLOCK):
        yield bytes(min(BLOCK, content.padded - start))


def _blocks(pieces: Iterable[bytes], content: Content) -> Iterator[bytes]:
    """The same bytes in blocks; the last is held back until the pieces ended well."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) > BLOCK:
            yield bytes(held[:BLOCK])
            del held[:BLOCK]
    yield bytes(held)


@dataclass
class Opener:
    """A sealed file, fed in pieces of any size, beginning with block 0 or (of a known `content`) with
    block `first`. Raises RemoteProtocolError at the first block that is not genuine."""

    key: bytes = field(repr=False)
    content: Content | None = None
    first: int = 0

    def __post_init__(self) -> None:
        self._cipher = ChaCha20Poly1305(self.key)
        self._block = self.first
        self._held = bytearray()
        if self.first and self.content is None:
            raise ValueError("only a known file can be opened in the middle")

    @property
    def whole(self) -> bool:
        """The last block was opened."""
        return self.content is not None and self._block > self.content.blocks

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes of the file (padding left out) that `data` completes."""
        self._held += data
        while not self.whole and len(self._held) >= (size := self._size()):
            plain = self._open(bytes(self._held[:size]))
            del self._held[:size]
            if self._block == 0:
                self.content = _read_header(plain)
            else:
                yield plain[: max(0, self._known.size - (self._block - 1) * BLOCK)]
            self._block += 1
        if self.whole and self._held:
            raise RemoteProtocolError("bytes follow the end of the sealed file")

    @property
    def _known(self) -> Content:
        assert self.content is not None
        return self.content

    def _size(self) -> int:
        if self._block == 0:
            return HEADER.size + TAG
        return min(BLOCK, self._known.padded - (self._block - 1) * BLOCK) + TAG

    def _open(self, sealed: bytes) -> bytes:
        last = self.content is not None and self._block == self.content.blocks
        try:
            return self._cipher.decrypt(_nonce(self._block, last), sealed, None)
        except InvalidTag:
            raise RemoteProtocolError(
                f"block {self._block} of the sealed file is not what its sender sealed",
                "the ticket's key is another file's, or the box altered it",
            ) from None


def _nonce(block: int, last: bool) -> bytes:
    return block.to_bytes(11, "big") + bytes([last])


def _read_header(plain: bytes) -> Content:
    version, size, padded, sha256, length, name = HEADER.unpack(plain)
    if version != VERSION:
        raise RemoteProtocolError("the sealed file is of another version", "use a newer bento")
    try:
        return Content(name[:length].decode(), size, sha256, padded)
    except ValueError as error:
        raise RemoteProtocolError("the sealed file's header makes no sense") from error
