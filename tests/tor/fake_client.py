"""A false client tor: control and SOCKS ports over a network of five relays that do not exist.

What happens to a stream is told by the name of the host it goes to (`FATES`), what happens to a
circuit by `FakeClient.circuits`, an event for each EXTENDCIRCUIT.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from pathlib import Path

from tests.tor.fake_tor import FakeTor

NAMES = ("guard", "spare", "middle", "second", "box")
BUILT = "BUILT {path}"
# Of an attached stream; any other host succeeds, and then says its SOCKS user and its circuit.
FATES = {
    "refused.host": ("DETACHED", "REASON=END REMOTE_REASON=EXITPOLICY"),
    "failed.host": ("FAILED", "REASON=END REMOTE_REASON=CONNECTREFUSED"),
    "silent.host": ("SENTCONNECT", ""),
}
SOCKS_YES = b"\x05\x00\x00\x01\0\0\0\0\0\0"
SOCKS_NO = b"\x05\x01\x00\x01\0\0\0\0\0\0"


def fingerprint(name: str) -> str:
    return name.encode().hex().upper().ljust(40, "0")


def entry(name: str, number: int) -> str:
    """A relay of its own /16 in the consensus."""
    digest = base64.b64encode(bytes.fromhex(fingerprint(name))).decode().rstrip("=")
    return (
        f"r {name} {digest} d 2038-01-01 00:00:00 10.{number}.0.1 9001 0\n"
        "s Fast Running Stable Valid\nw Bandwidth=1"
    )


class FakeClient(FakeTor):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "control")
        self.socks = f"unix:{folder / 'socks'}"
        self.statuses = "\n".join(entry(name, k) for k, name in enumerate(NAMES))
        self.guards = [f"${fingerprint(name)}~{name} up" for name in ("guard", "spare")]
        self.families: dict[str, str] = {}
        self.circuits: list[str] = []  # events to come, then BUILT for ever
        self.hold_new = asyncio.Event()  # set: streams are named at once
        self.hold_new.set()
        self.streams: dict[str, tuple[str, str, asyncio.StreamWriter]] = {}  # user, host, SOCKS
        self._socks_path = folder / "socks"
        self._ids = itertools.count(1)
        self.answers |= {
            "GETCONF": "250 EnforceDistinctSubnets=1",
            "GETINFO": self._get_info,
            "EXTENDCIRCUIT": self._extend,
            "ATTACHSTREAM": self._attach,
            "CLOSESTREAM": self._close_stream,
        }

    async def __aenter__(self) -> FakeClient:
        await super().__aenter__()
        self._socks_server = await asyncio.start_unix_server(self._serve_socks, self._socks_path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._socks_server.close()
        for _, _, writer in self.streams.values():
            writer.close()
        await super().__aexit__(*exc)

    def asked_for(self, word: str) -> list[str]:
        return [command for command in self.commands if command.startswith(word)]

    # -- control -----------------------------------------------------------------------------

    def _get_info(self, line: str) -> str:
        key = line.split()[1]
        texts = {"ns/all": self.statuses, "entry-guards": "\n".join(self.guards)}
        if key.startswith("md/id/"):
            text = self.families.get(key.removeprefix("md/id/"), "")
        elif key in texts:
            text = texts[key]
        else:
            return "552 none"
        return f"250+{key}=\r\n" + f"{text}\n.".replace("\n", "\r\n") + "\r\n250 OK"

    def _extend(self, line: str) -> str:
        circuit, path = next(self._ids), line.split()[2]
        event = self.circuits.pop(0) if self.circuits else BUILT
        if event.startswith("5"):
            return event
        # Reply and event in one piece, as a fast tor may send them.
        told = f"\r\n650 CIRC {circuit} {event.format(path=path)}" if event else ""
        return f"250 EXTENDED {circuit}{told}"

    def _attach(self, line: str) -> str:
        _, stream, circuit = line.split()
        if self.streams[stream][1] == "cannot.attach":
            return "551 Unable to attach stream"
        asyncio.get_running_loop().call_soon(self._happen, stream, circuit)
        return "250 OK"

    def _happen(self, stream: str, circuit: str) -> None:
        user, host, writer = self.streams[stream]
        status, reasons = FATES.get(host, ("SUCCEEDED", ""))
        self.say(f"650 STREAM {stream} {status} {circuit} {host}:80 {reasons}".rstrip())
        if status == "SUCCEEDED":
            writer.write(SOCKS_YES + f"{user} {circuit}\n".encode())
        elif status == "FAILED":
            self._fail(writer)

    def _close_stream(self, line: str) -> str:
        stream = line.split()[1]
        if stream not in self.streams:
            return "552 Unknown stream"
        _, host, writer = self.streams[stream]
        self.say(f"650 STREAM {stream} FAILED 0 {host}:80 REASON=MISC")
        self._fail(writer)
        return "250 OK"

    @staticmethod
    def _fail(writer: asyncio.StreamWriter) -> None:
        writer.write(SOCKS_NO)
        writer.close()

    # -- SOCKS -------------------------------------------------------------------------------

    async def _serve_socks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x02")
        user = await self._string(reader, skip=1)
        await self._string(reader, skip=0)
        writer.write(b"\x01\x00")
        host = await self._string(reader, skip=4)
        await self.hold_new.wait()
        stream = str(next(self._ids))
        self.streams[stream] = (user, host, writer)
        self.say(f'650 STREAM {stream} NEW 0 {host}:80 SOCKS_USERNAME="{user}"')

    @staticmethod
    async def _string(reader: asyncio.StreamReader, skip: int) -> str:
        await reader.readexactly(skip)
        return (await reader.readexactly((await reader.readexactly(1))[0])).decode()
