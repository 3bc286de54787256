"""A function speaks Tor's own protocol: an onion service whose cells are made inside a real sandbox, at a
real box, on unmodified relays, for an unmodified client."""

from __future__ import annotations

import asyncio
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from bento.client.network import Network, TorEndpoints
from bento.functions import cells
from bento.protocol.manifest import Manifest, manifest_text

pytestmark = pytest.mark.network

EXAMPLE = Path(__file__).parents[2] / "examples" / "onion_cells.py"


@pytest.fixture
async def user(network, tmp_path):
    endpoints = TorEndpoints(*network.user_tor())
    async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as opened:
        yield opened


async def curl(socks: str, url: str) -> bytes:
    """What an ordinary program gets through an ordinary tor client."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--fail", "--max-time", "120"),
        *("--socks5-hostname", socks, url),
        stdout=asyncio.subprocess.PIPE,
    )
    body, _ = await process.communicate()
    assert process.returncode == 0
    return body


async def test_an_onion_service_made_of_cells_in_a_sandbox_serves_curl(network, user):
    upload = cells.carrying(EXAMPLE.read_text())
    manifest = Manifest.parse(manifest_text(upload))
    assert (manifest.memory, manifest.relays, manifest.egress) == (64 << 20, True, ())
    socks = (await network.status()).socks
    async with await user.box("box1") as box:
        instance, session = await box.run(upload, "Good day.")
        async for piece in session:
            url = piece.decode().strip()
            break
        assert await curl(socks, url) == b"Good day."
        assert await curl(socks, f"{url}3000000") == bytes(3_000_000)
        await session.close_input()
        assert await session.read() == b""
        again = await instance.invoke("Good night.")  # the same key, at the same points
        async for piece in again:
            assert piece.decode().strip() == url
            break
        assert await curl(socks, url) == b"Good night."
        await instance.shutdown()


def test_the_upload_is_the_same_bytes_everywhere_and_a_function_of_one_file_with_the_library(
    capfdbinary, monkeypatch
):
    upload = cells.carrying(EXAMPLE.read_text())
    with zipfile.ZipFile(BytesIO(upload)) as archive:
        assert archive.read("__main__.py") == EXAMPLE.read_bytes()
        assert {"bento/onion/service.py", "bento/tor/controller.py"} <= set(archive.namelist())
        assert len({entry.date_time for entry in archive.infolist()}) == 1
    assert cells.main([str(EXAMPLE)]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == upload
    assert cells.main([]) == 2
    assert len(upload) < 1 << 20
