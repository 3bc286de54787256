"""Our own programs as children: ready when they say so, gone when we are."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bento.errors import HostError
from bento.testnet.processes import Identity
from bento.testnet.program import Program

READY_THEN_WAIT = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # without last words
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""


def program(tmp_path: Path, code: str) -> Program:
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", code, str(ready)]
    return Program("helper", command, ready=ready, log=tmp_path / "helper.log")


async def test_it_has_started_when_it_says_so(tmp_path: Path) -> None:
    helper = program(tmp_path, READY_THEN_WAIT)
    await helper.start()
    assert (tmp_path / "ready").exists()
    await helper.stop()
    assert Identity.of("helper", helper.pid) is None


async def test_the_ready_file_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    with pytest.raises(HostError):
        await program(tmp_path, "raise SystemExit(3)").start()


async def test_one_that_ends_before_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="helper exited with status 1: no luck"):
        await program(tmp_path, "raise SystemExit('no luck')").start()


async def test_one_that_is_killed_is_noticed(tmp_path: Path) -> None:
    helper = program(tmp_path, READY_THEN_WAIT)
    await helper.start()
    os.kill(helper.pid, signal.SIGKILL)
    assert await helper.exited == -signal.SIGKILL
    assert "killed by signal 9" in helper.failure().detail


def test_it_dies_with_its_parent_in_whatever_way_that_dies(tmp_path: Path) -> None:
    parent = f"""
import asyncio, signal, sys
from pathlib import Path
from bento.testnet.program import Program
async def main():
    ready = Path({str(tmp_path / "ready")!r})
    command = [sys.executable, "-c", {READY_THEN_WAIT!r}, str(ready)]
    helper = Program("helper", command, ready=ready, log=Path({str(tmp_path / "log")!r}))
    await helper.start()
    print(helper.pid, flush=True)
    signal.pause()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        pidfd = os.pidfd_open(pid)
        process.kill()
    signal_came, _, _ = select.select([pidfd], [], [], 60)
    os.close(pidfd)
    assert signal_came


async def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    (tmp_path / "helper.log").write_bytes(bytes(5 << 20))
    helper = program(tmp_path, READY_THEN_WAIT)
    await helper.start()
    await helper.stop()
    assert (tmp_path / "helper.log").stat().st_size < 4096
