"""A sandbox outlives its bentod, and the next one has it as if it had started it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.sandbox.inside import run
from tests.sandbox.leftovers import Traces, is_running

from bento.errors import HostError
from bento.sandbox import IMAGES, Limits, Record, adopt, process

_BENTOD = """
import asyncio, dataclasses, json, os, signal, sys
from pathlib import Path
from bento.sandbox import IMAGES, spawn
from tests.sandbox.inside import blob, run

async def main():
    image = IMAGES["python"]
    sandbox = await spawn(image, image.limits, Path(sys.argv[1]), sys.argv[2], blob())
    await run(sandbox, "keep = True; session = 'the state of a session'")
    print(json.dumps(dataclasses.asdict(sandbox.record)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
async def record(folder: Path) -> AsyncIterator[Record]:
    """Of a sandbox whose bentod was killed."""
    name = f"orphan{folder.name[-8:]}"
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _BENTOD, str(folder), name),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    output, _ = await done.communicate()
    assert done.returncode == -signal.SIGKILL
    fields = json.loads(output)
    record = Record(**{**fields, "limits": Limits(**fields["limits"])})
    yield record
    with contextlib.suppress(ProcessLookupError):
        if process.start_time(record.pid) == record.started:  # the test failed
            await process.Process(record.pid).end()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/bento/{record.group}"))


async def test_it_goes_on_where_it_was(record: Record, folder: Path) -> None:
    sandbox = await adopt(record, folder)
    assert await run(sandbox, "result = session") == "the state of a session"
    assert sandbox.record == record
    assert sandbox.egress_listener.getsockname() == ("127.0.0.1", 1080)
    assert sandbox.usage().memory > 0
    sandbox.set_limits(replace(record.limits, pids=3))
    traces = Traces(sandbox)
    assert len(traces.left) >= 3
    await sandbox.kill()
    sandbox.close()
    assert traces.left == []


async def test_it_can_be_adopted_again(record: Record, folder: Path) -> None:
    for _ in range(3):
        sandbox = await adopt(record, folder)
        assert await run(sandbox, "result = session") == "the state of a session"
        sandbox.abandon()
        sandbox.close()
    sandbox = await adopt(record, folder)
    await sandbox.kill()
    sandbox.close()


async def test_one_that_ended_meanwhile_is_cleared_up(record: Record, folder: Path) -> None:
    gone = process.Process(record.pid)
    await gone.end()
    with pytest.raises(HostError):
        await adopt(record, folder)
    assert list(folder.iterdir()) == []


async def test_another_process_with_its_number_is_left_alone(record: Record, folder: Path) -> None:
    with subprocess.Popen(["/usr/bin/sleep", "1000"]) as other:
        with pytest.raises(HostError):
            await adopt(replace(record, pid=other.pid), folder)
        assert other.poll() is None
        other.kill()
    assert list(folder.iterdir()) == []


async def test_one_that_does_not_answer_is_ended(
    record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bento.sandbox.adoption._READY_WITHIN", 0.2)
    os.kill(record.pid, signal.SIGSTOP)
    with pytest.raises(HostError):
        await adopt(record, folder)
    assert not is_running(record.pid)
    assert list(folder.iterdir()) == []


def test_a_record_is_plain_data() -> None:
    record = Record("name", "python", "group", IMAGES["python"].limits, 1, 2)
    fields = json.loads(json.dumps(asdict(record)))
    assert Record(**{**fields, "limits": Limits(**fields["limits"])}) == record
