"""One sealed file's blocks on disk: AES-256-GCM, 32 KiB each. Runs in the guest.

    block n at n * 32784:  ciphertext (up to 32768 bytes, a multiple of 4096) tag (16 bytes)

Invariant: what is read is what was last written, or IntegrityError. The nonce of each block is
random, new for every write, and kept in memory only; so an operator who puts back an old block,
swaps two blocks or files, or cuts the file cannot make one decrypt. On disk a file shows its size
to 4 KiB and nothing else.

The form carries no version: key and nonces die with the process that wrote a file, so nobody else
ever reads it, and a guest that outlives an upgrade of its box has its own old code with it. There is
no file below, and no key of it, before its first block is sealed.
Ciphertext is copied out of the operator's reach before it is checked, never mapped: what is
deciphered is what was authenticated, whatever is done to the file meanwhile.
"""

from __future__ import annotations

import contextlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bento.conclave.secret import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.conclave.sealed_room import Room

# Bytes in the clear. Long reads and writes want large blocks (16 KiB cost a tenth more), those of
# 4 KiB here and there small ones (64 KiB cost half as much again).
BLOCK = 32768
RUN = 8  # blocks moved by one system call
_GRAIN = 4096  # bytes: the last block is padded to a multiple, so its size says less
_TAG = 16
_STRIDE = BLOCK + _TAG
_NONCE = 12
_LABEL = b"bento sealed file "
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class IntegrityError(OSError):
    """The storage below a sealed file was changed behind its back. Never the function's fault."""

    def __init__(self) -> None:
        super().__init__("a sealed file was changed from outside the conclave")


class _Copying:
    """AES-GCM of Debian 12's cryptography, which cannot write into a given buffer."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt_into(
        self, nonce: bytes, data: memoryview, where: bytes, target: memoryview
    ) -> None:
        target[:] = self._cipher.encrypt(nonce, bytes(data), where)

    def decrypt_into(
        self, nonce: bytes, data: memoryview, where: bytes, target: memoryview
    ) -> None:
        target[:] = self._cipher.decrypt(nonce, bytes(data), where)


_Cipher = AESGCM if hasattr(AESGCM, "decrypt_into") else _Copying


class SealedBlocks:
    """Blocks of one file under its own key, derived from the conclave's."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._below = ""  # its random name on disk
        self._descriptor = -1  # while it is in use: an instance may have few
        self._cipher: AESGCM | _Copying | None = None
        self._nonces: list[bytes | None] = []
        self._short: dict[int, int] = {}  # block -> its size on disk, where that is not _STRIDE
        self._scratch = memoryview(b"")  # for ciphertext, as much as was needed at once so far

    def has(self, number: int) -> bool:
        """Whether the block lies below."""
        return number < len(self._nonces) and self._nonces[number] is not None

    def write(self, number: int, data: memoryview) -> None:
        """Replace blocks from `number` on: a number of whole ones up to RUN, or one shorter one."""
        if short := len(data) % BLOCK:
            self._write_short(number, data, short)
            return
        count = len(data) // BLOCK
        seal, sealed = self._open().encrypt_into, self._buffer(count * _STRIDE)
        random, nonces = os.urandom(_NONCE * count), []
        for at in range(count):
            nonce = random[at * _NONCE : at * _NONCE + _NONCE]
            nonces.append(nonce)
            seal(
                nonce,
                data[at * BLOCK : at * BLOCK + BLOCK],
                (number + at).to_bytes(8, "big"),
                sealed[at * _STRIDE : at * _STRIDE + _STRIDE],
            )
        self._put(number, sealed, nonces)

    def _write_short(self, number: int, data: memoryview, size: int) -> None:
        clear = bytearray(size + -size % _GRAIN)
        clear[:size] = data
        sealed = self._buffer(len(clear) + _TAG)
        nonce = os.urandom(_NONCE)
        with memoryview(clear) as padded:
            self._open().encrypt_into(nonce, padded, number.to_bytes(8, "big"), sealed)
        clear[:] = bytes(len(clear))
        self._put(number, sealed, [nonce])
        if len(sealed) < _STRIDE:
            self._short[number] = len(sealed)

    def read(self, number: int, target: memoryview) -> None:
        """Fill `target`, whole blocks up to RUN, from `number` on; what was never written is zeros.

        Raises IntegrityError."""
        count = len(target) // BLOCK
        nonces = self._nonces[number : number + count]
        if len(nonces) < count or None in nonces or self._any_short(number, count):
            self._read_singly(number, target)
            return
        unseal, sealed = self._open().decrypt_into, self._buffer(count * _STRIDE)
        self._fetch(number, sealed)
        try:
            for at, nonce in enumerate(nonces):
                unseal(
                    nonce,  # type: ignore[arg-type] # none of them is None, as was seen
                    sealed[at * _STRIDE : at * _STRIDE + _STRIDE],
                    (number + at).to_bytes(8, "big"),
                    target[at * BLOCK : at * BLOCK + BLOCK],
                )
        except InvalidTag:
            raise IntegrityError from None

    def _any_short(self, number: int, count: int) -> bool:
        return bool(self._short) and any(n in self._short for n in range(number, number + count))

    def _read_singly(self, number: int, target: memoryview) -> None:
        """The slow way, where some block is short or was never written."""
        cipher = self._open()
        for start in range(0, len(target), BLOCK):
            n = number + start // BLOCK
            nonce = self._nonces[n] if n < len(self._nonces) else None
            size = self._short.get(n, _STRIDE) if nonce is not None else 0
            end = start + max(0, size - _TAG)
            if nonce is not None:
                sealed = self._buffer(size)
                self._fetch(n, sealed)
                try:
                    cipher.decrypt_into(nonce, sealed, n.to_bytes(8, "big"), target[start:end])
                except InvalidTag:
                    raise IntegrityError from None
            target[end : start + BLOCK] = bytes(start + BLOCK - end)

    # --- the whole file

    def cut(self, blocks: int) -> None:
        """Drop every block from number `blocks` on."""
        if blocks < len(self._nonces):
            self._open()
            del self._nonces[blocks:]
            self._short = {n: size for n, size in self._short.items() if n < blocks}
            os.ftruncate(self._descriptor, blocks * _STRIDE)

    def relax(self) -> None:
        """Give back the working memory and the descriptor; nobody has the file open."""
        self._scratch = memoryview(b"")
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        """Forget the key, remove the file: what the operator kept of it is noise. Idempotent."""
        self.relax()
        self._cipher = None
        self._nonces.clear()
        self._short.clear()
        if self._below:
            with contextlib.suppress(FileNotFoundError):  # the operator was quicker
                os.unlink(self._below)  # noqa: PTH108 - the guest does not load pathlib
            self._below = ""

    # --- inside

    def _open(self) -> AESGCM | _Copying:
        if self._descriptor < 0 or self._cipher is None:
            return self._reopen()
        return self._cipher

    def _reopen(self) -> AESGCM | _Copying:
        if self._cipher is None:
            file_id = os.urandom(16)
            key = hmac.digest(self._room.master.view(), _LABEL + file_id, "sha256")
            self._below = f"{self._room.root}/{file_id.hex()}"
            self._descriptor = os.open(self._below, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            self._cipher = _Cipher(key)
            forget(key)
            return self._cipher
        try:
            self._descriptor = os.open(self._below, _FLAGS)
        except FileNotFoundError:
            raise IntegrityError from None
        return self._cipher

    def _buffer(self, size: int) -> memoryview:
        if len(self._scratch) < size:
            self._scratch = memoryview(bytearray(size))
        return self._scratch[:size]

    def _fetch(self, number: int, sealed: memoryview) -> None:
        if os.preadv(self._descriptor, [sealed], number * _STRIDE) != len(sealed):
            raise IntegrityError

    def _put(self, number: int, sealed: memoryview, nonces: list[bytes]) -> None:
        """Write, and remember the nonces of what was written, also where the disk is full."""
        done, start = 0, number * _STRIDE
        try:
            while done < len(sealed):
                done += os.pwrite(self._descriptor, sealed[done:], start + done)
        except OSError:
            self._remember(number, nonces[: done // _STRIDE])
            raise
        self._remember(number, nonces)

    def _remember(self, number: int, nonces: list[bytes]) -> None:
        end = number + len(nonces)
        if self._short:
            for n in range(number, end):
                self._short.pop(n, None)
        if end > len(self._nonces):
            self._nonces += [None] * (end - len(self._nonces))
        self._nonces[number:end] = nonces
