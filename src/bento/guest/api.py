"""What a function's `main` gets as its first argument. Blocking; see `aio` for `async def main`."""

from __future__ import annotations

from bento.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, Protocol

    from bento.guest.boxes import Boxes
    from bento.guest.chromium import Program, Supply
    from bento.guest.onion import OnionService
    from bento.guest.tor import TorWay

    class WayOut(Protocol):
        """To other boxes, of a function that ends at `expires`."""

        def boxes(self, expires: int) -> Boxes: ...

    class Session(Protocol):
        """One invocation, in the sandbox (guest.session) or on the author's own machine."""

        def write(self, data: bytes, timeout: float | None = None) -> None: ...
        def read(self, size: int | None, timeout: float | None) -> bytes: ...
        def poll(self, timeout: float | None) -> bool: ...
        def log(self, line: str) -> None: ...
        def end(self) -> None: ...


class Limits:
    """The instance's terms: `memory`, `disk` (bytes), `network` (whether any egress was granted)."""

    def __init__(self, memory: int, disk: int, network: bool) -> None:
        self.memory = memory
        self.disk = disk
        self.network = network


class Api:
    """The function's way out. One object for each session; safe to use from several threads."""

    def __init__(
        self,
        session: Session,
        folder: str,
        limits: Limits,
        expires: int,
        tor: TorWay | None = None,
        way_out: WayOut | None = None,
        chromiums: Supply | None = None,
    ) -> None:
        self._session = session
        self._tor = tor
        self._way_out = way_out
        self._chromiums = chromiums
        self._folder = folder
        self.limits = limits
        self.expires = expires
        """When the instance ends at the latest, in seconds since 1970."""

    def send(
        self, data: bytes | bytearray | memoryview | str, timeout: float | None = None
    ) -> None:
        """Sends bytes (text as UTF-8) to the client. Waits while the spool is full, so a fast
        function never runs ahead of its reader by more than the spool.

        Raises TimeoutError when nothing of it was fetched for `timeout` seconds."""
        self._session.write(data.encode() if isinstance(data, str) else bytes(data), timeout)

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

    def end(self) -> None:
        """Ends the instance as soon as its present clients have fetched their answers and left, after a
        minute at the latest. No new call begins from here on; nothing that the function holds, wrote or
        sent to clients who are away stays."""
        self._session.end()

    @property
    def data(self) -> Path:
        """The instance's private folder. It is gone when the instance is."""
        from pathlib import Path

        folder = Path(self._folder)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def stem(self) -> Any:
        """An ordinary `stem.control.Controller`, logged in, on the functions' tor of this box.

        The Stem firewall stands between: it shows and does what the manifest's `tor` line allows,
        with what is this function's own. One for the whole instance, so leave it open: what was
        built with it ends when it is closed. Streams go through socks5h://127.0.0.1:9050.
        Raises PolicyError if the manifest asks for nothing of tor."""
        return self._tor_way().controller()

    def onion_service(self, port: int = 80, *, wait: bool = True) -> OnionService:
        """A new onion service on `port`, which ends with the instance or with its `close`.

        `for connection in service` gives plain sockets. Needs `tor = ["onion-services", "events"]`;
        without `wait` it returns before clients can find the address and needs no events."""
        return self._tor_way().service(port, wait)

    @property
    def boxes(self) -> Boxes:
        """Other boxes: install functions there, call them, end them (see `bento.guest.boxes`).

        Raises PolicyError if the manifest has no line `boxes`."""
        if self._way_out is None:
            raise PolicyError(
                "this function may not use other boxes", "ask in its manifest: boxes = 1"
            )
        return self._way_out.boxes(self.expires)

    def chromium(self) -> Program:
        """A Chromium that nobody else drives, to be driven by the DevTools protocol on its two pipes (see
        `bento.guest.chromium`). It has no way out but the proxy 127.0.0.1:1080, for a context that names
        it. The instance's first is started while the code is still on its way. Whoever takes one ends it.

        Raises PolicyError if the manifest has no line `chromium`, OSError if none can be started."""
        if self._chromiums is None:
            raise PolicyError(
                "this function may not use a Chromium", "ask in its manifest: chromium = true"
            )
        return self._chromiums.take()

    def _tor_way(self) -> TorWay:
        if self._tor is None:
            raise PolicyError(
                "this function may not use tor", 'ask in its manifest: tor = ["circuits", "events"]'
            )
        return self._tor
