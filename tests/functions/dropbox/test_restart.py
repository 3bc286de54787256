"""What was put stays put, whatever happens to the bentod that took it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.crash.process_box import process_box
from tests.functions.dropbox.test_in_a_box import ANYTIME, MIB, get, own_home, put

from bento.functions.dropbox.transfer import Rules

__all__ = ["own_home"]


@pytest.mark.parametrize("rules", [ANYTIME, Rules(gets=1)], ids=["any number", "one get"])
async def test_an_acknowledged_put_survives_a_kill_of_bentod(tmp_path: Path, rules: Rules) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"all of it " * (MIB // 10))
    async with process_box() as box:
        await box.start()
        ticket = await put(box, file, rules)
        await box.end(signal.SIGKILL)
        await box.start()
        await get(box, ticket, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == file.read_bytes()
