"""One sealed file's blocks on disk: AES-256-GCM, 16 KiB each. Runs in the guest.

    block n at n * 16400:  ciphertext (up to 16384 bytes, a multiple of 4096) tag (16 bytes)

Invariant: what is read is what was last written, or IntegrityError. The nonce of each block is
random, new for every write, and kept in memory only; so an operator who puts back an old block,
swaps two blocks or files, or cuts the file cannot make one decrypt. On disk a file shows its size
to 4 KiB and nothing else.
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bento.conclave.secret import Secret, forget

BLOCK = 16384  # bytes in the clear: small writes cost one, long ones go by RUN
RUN = 16  # blocks moved by one system call
_GRAIN = 4096  # bytes: the last block is padded to a multiple, so its size says less
_TAG = 16
_STRIDE = BLOCK + _TAG
_NONCE = 12
_LABEL = b"bento sealed file "


class IntegrityError(OSError):
    """The storage below a sealed file was changed behind its back. Never the function's fault."""

    def __init__(self) -> None:
        super().__init__("a sealed file was changed from outside the conclave")


class SealedBlocks:
    """Blocks of one file under its own key, derived from the conclave's."""

    def __init__(self, descriptor: int, master: Secret, file_id: bytes) -> None:
        """Takes over `descriptor`. `file_id` is unique under `master`."""
        self._descriptor = descriptor
        key = hmac.digest(master.view(), _LABEL + file_id, "sha256")
        self._cipher: AESGCM | None = AESGCM(key)
        forget(key)
        self._nonces: list[bytes | None] = []
        self._short: dict[int, int] = {}  # block -> its size on disk, where that is not _STRIDE
        self._scratch = bytearray()  # ciphertext of a run; made when first needed

    # --- whole blocks

    def write_run(self, number: int, data: memoryview) -> None:
        """Replace whole blocks from `number` on; `data` is at most RUN of them."""
        count = len(data) // BLOCK
        cipher, sealed = self._open(), self._buffer()[: count * _STRIDE]
        random = os.urandom(_NONCE * count)
        nonces = [random[n * _NONCE : (n + 1) * _NONCE] for n in range(count)]
        for n, nonce in enumerate(nonces):
            clear = data[n * BLOCK : (n + 1) * BLOCK]
            _encrypt(cipher, nonce, clear, number + n, sealed[n * _STRIDE : (n + 1) * _STRIDE])
        self._put(number, sealed, nonces)

    def read_run(self, number: int, target: memoryview) -> None:
        """Fill `target`, at most RUN whole blocks, from `number` on. Raises IntegrityError."""
        count = len(target) // BLOCK
        nonces = [n for n in self._nonces[number : number + count] if n is not None]
        if self._short or len(nonces) < count:
            self._read_singly(number, target)
            return
        cipher, sealed = self._open(), self._buffer()[: count * _STRIDE]
        if os.preadv(self._descriptor, [sealed], number * _STRIDE) != len(sealed):
            raise IntegrityError
        for n, nonce in enumerate(nonces):
            clear = target[n * BLOCK : (n + 1) * BLOCK]
            _decrypt(cipher, nonce, sealed[n * _STRIDE : (n + 1) * _STRIDE], number + n, clear)

    def _read_singly(self, number: int, target: memoryview) -> None:
        """The slow way, where some block is short or was never written."""
        for at in range(0, len(target), BLOCK):
            clear = self.read(number + at // BLOCK)
            target[at : at + BLOCK] = clear.ljust(BLOCK, b"\0")

    # --- one block, perhaps the short last one

    def write(self, number: int, data: bytearray) -> None:
        """Replace block `number` by `data`, at most BLOCK bytes."""
        padded = bytes(data) + bytes(-len(data) % _GRAIN)
        nonce = os.urandom(_NONCE)
        sealed = self._open().encrypt(nonce, padded, _where(number))
        self._put(number, memoryview(sealed), [nonce])
        if len(sealed) < _STRIDE:
            self._short[number] = len(sealed)

    def read(self, number: int) -> bytes:
        """Block `number` with its padding; empty if never written. Raises IntegrityError."""
        cipher, nonce = self._open(), self._nonce(number)
        if nonce is None:
            return b""
        size = self._short.get(number, _STRIDE)
        sealed = os.pread(self._descriptor, size, number * _STRIDE)
        try:
            return cipher.decrypt(nonce, sealed, _where(number))
        except (InvalidTag, ValueError):
            raise IntegrityError from None

    # --- the whole file

    def cut(self, blocks: int) -> None:
        """Drop every block from number `blocks` on."""
        self._open()
        if blocks < len(self._nonces):
            del self._nonces[blocks:]
            self._short = {n: size for n, size in self._short.items() if n < blocks}
            os.ftruncate(self._descriptor, blocks * _STRIDE)

    def relax(self) -> None:
        """Give back the working memory; nobody has the file open."""
        self._scratch = bytearray()

    def close(self) -> None:
        """Forget the key: the blocks on disk are noise from now on. Idempotent."""
        if self._cipher is not None:
            self._cipher = None
            self._nonces.clear()
            os.close(self._descriptor)

    # --- inside

    def _open(self) -> AESGCM:
        if self._cipher is None:
            raise ValueError("the sealed storage was wiped")
        return self._cipher

    def _buffer(self) -> memoryview:
        if not self._scratch:
            self._scratch = bytearray(RUN * _STRIDE)
        return memoryview(self._scratch)

    def _nonce(self, number: int) -> bytes | None:
        return self._nonces[number] if number < len(self._nonces) else None

    def _put(self, number: int, sealed: memoryview, nonces: list[bytes]) -> None:
        offset = number * _STRIDE
        while sealed:
            written = os.pwrite(self._descriptor, sealed, offset)
            sealed, offset = sealed[written:], offset + written
        end = number + len(nonces)
        if self._short:
            for n in range(number, end):
                self._short.pop(n, None)
        if end > len(self._nonces):
            self._nonces += [None] * (end - len(self._nonces))
        self._nonces[number:end] = nonces


def _encrypt_in_place(
    cipher: AESGCM, nonce: bytes, clear: memoryview, number: int, sealed: memoryview
) -> None:
    cipher.encrypt_into(nonce, clear, _where(number), sealed)


def _encrypt_and_copy(
    cipher: AESGCM, nonce: bytes, clear: memoryview, number: int, sealed: memoryview
) -> None:
    sealed[:] = cipher.encrypt(nonce, bytes(clear), _where(number))


def _decrypt_in_place(
    cipher: AESGCM, nonce: bytes, sealed: memoryview, number: int, clear: memoryview
) -> None:
    try:
        cipher.decrypt_into(nonce, sealed, _where(number), clear)
    except InvalidTag:
        raise IntegrityError from None


def _decrypt_and_copy(
    cipher: AESGCM, nonce: bytes, sealed: memoryview, number: int, clear: memoryview
) -> None:
    try:
        clear[:] = cipher.decrypt(nonce, bytes(sealed), _where(number))
    except InvalidTag:
        raise IntegrityError from None


# Debian 12's cryptography cannot write into a given buffer: there each block is copied once more.
_encrypt, _decrypt = (
    (_encrypt_in_place, _decrypt_in_place)
    if hasattr(AESGCM, "encrypt_into") and hasattr(AESGCM, "decrypt_into")
    else (_encrypt_and_copy, _decrypt_and_copy)
)


def _where(number: int) -> bytes:
    return number.to_bytes(8, "big")
