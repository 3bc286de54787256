"""What a function's `main` gets as its first argument. Blocking; see `aio` for `async def main`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Protocol

    class Session(Protocol):
        """One invocation, in the sandbox (guest.session) or on the author's own machine."""

        def write(self, data: bytes) -> None: ...
        def read(self, size: int | None, timeout: float | None) -> bytes: ...
        def poll(self, timeout: float | None) -> bool: ...
        def log(self, line: str) -> None: ...


class Limits:
    """The instance's terms: `memory`, `disk` (bytes), `network` (whether any egress was granted)."""

    def __init__(self, memory: int, disk: int, network: bool) -> None:
        self.memory = memory
        self.disk = disk
        self.network = network


class Api:
    """The function's way out. One object for each session; safe to use from several threads."""

    def __init__(self, session: Session, folder: str, limits: Limits, expires: int) -> None:
        self._session = session
        self._folder = folder
        self.limits = limits
        self.expires = expires
        """When the instance ends at the latest, in seconds since 1970."""

    def send(self, data: bytes | bytearray | memoryview | str) -> None:
        """Sends bytes (text as UTF-8) to the client. Waits while the spool is full, so a fast
        function never runs ahead of its reader by more than the spool."""
        self._session.write(data.encode() if isinstance(data, str) else bytes(data))

    def recv(self, size: int | None = None, timeout: float | None = None) -> bytes:
        """The next bytes from the client, at most `size`; b"" when the client closed its input.

        Raises TimeoutError after `timeout` seconds."""
        return self._session.read(size, timeout)

    def poll(self, timeout: float | None = 0) -> bool:
        """Whether `recv` would return at once, waiting up to `timeout` seconds (None: for ever)."""
        return self._session.poll(timeout)

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of the input until its end."""
        while data := self.recv():
            yield data

    def log(self, line: str) -> None:
        """A line for the function's owner; nobody else sees it, and nobody stores it."""
        self._session.log(str(line))

    @property
    def data(self) -> Path:
        """The instance's private folder. It is gone when the instance is."""
        from pathlib import Path

        folder = Path(self._folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
