"""The ClientHello beside C-tor's, captured in the same run: equal but for two lists."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from bento.onion import tls

BRIDGE = ("127.93.1.1", 9001)
CIPHERS_13 = {"1301", "1302", "1303"}
SERVER_NAME, GROUPS, KEY_SHARE, PADDING = 0, 10, 51, 21


def parse(record: bytes) -> dict[str, object]:
    assert record[0] == 22
    assert record[5] == 1
    body = record[9:]
    at = 34 + 1 + body[34]
    length = int.from_bytes(body[at : at + 2], "big")
    ciphers = [body[i : i + 2].hex() for i in range(at + 2, at + 2 + length, 2)]
    at += 2 + length
    at += 1 + body[at] + 2
    extensions = {}
    while at < len(body):
        kind, size = (
            int.from_bytes(body[at : at + 2], "big"),
            int.from_bytes(body[at + 2 : at + 4], "big"),
        )
        extensions[kind] = body[at + 4 : at + 4 + size]
        at += 4 + size
    return {"ciphers": ciphers, "extensions": extensions, "versions": (record[1:3], body[:2])}


class Tap:
    """Listens where a guard would and keeps the first record of each connection."""

    def __init__(self) -> None:
        self.records: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(5)
        await self.records.put(head + await reader.readexactly(int.from_bytes(head[3:], "big")))
        writer.close()


async def hello_of_c_tor(tap: Tap, home: Path) -> bytes:
    (home / "empty").touch()
    (home / "torrc").write_text(
        f"DataDirectory {home}/data\nSocksPort 0\nUseBridges 1\nBridge {BRIDGE[0]}:{BRIDGE[1]}\n"
    )
    tor = subprocess.Popen(
        ["tor", "-f", home / "torrc", "--defaults-torrc", home / "empty", "--quiet"]
    )
    try:
        async with asyncio.timeout(120):
            return await tap.records.get()
    finally:
        tor.kill()
        tor.wait()


async def hello_of_ours(tap: Tap) -> bytes:
    with pytest.raises(OSError):
        await asyncio.open_connection(
            *BRIDGE, ssl=tls.client_context(), server_hostname=tls.random_server_name()
        )
    return await tap.records.get()


async def test_our_client_hello_differs_from_c_tors_only_where_stated(tmp_path: Path) -> None:
    tap = Tap()
    async with await asyncio.start_server(tap, *BRIDGE):
        theirs_raw = await hello_of_c_tor(tap, tmp_path)
        ours_raw = await hello_of_ours(tap)
    theirs, ours = parse(theirs_raw), parse(ours_raw)
    assert len(ours_raw) == len(theirs_raw)
    assert ours["versions"] == theirs["versions"]

    def below_13(hello):
        return [c for c in hello["ciphers"] if c not in CIPHERS_13]

    assert below_13(ours) == below_13(theirs)
    assert set(ours["ciphers"]) == set(theirs["ciphers"])
    assert list(ours["extensions"]) == list(theirs["extensions"])
    differing = {
        kind for kind, body in ours["extensions"].items() if body != theirs["extensions"][kind]
    }
    assert differing <= {SERVER_NAME, GROUPS, KEY_SHARE, PADDING}
    assert [len(h["extensions"][KEY_SHARE]) for h in (ours, theirs)] == [71, 71]
    # The stated differences, so that the docstring is corrected when they change.
    assert ours["extensions"][GROUPS].hex() == "00020017"
    assert theirs["extensions"][GROUPS].hex() == "00060017001d0015"
    assert [c for c in ours["ciphers"] if c in CIPHERS_13] == ["1302", "1303", "1301"]
    assert [c for c in theirs["ciphers"] if c in CIPHERS_13] == ["1301", "1303", "1302"]


def test_server_names_look_like_c_tors() -> None:
    names = {tls.random_server_name() for _ in range(300)}
    assert len(names) > 290
    for name in names:
        label = name.removeprefix("www.").removesuffix(".com")
        assert 4 <= len(label) <= 25
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyz234567")
