"""A disk that is full or broken, a process out of descriptors: refusals in a sentence, nothing lost, nothing
left, and as before once it is over."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess

import pytest
from tests.crash.process_box import process_box
from tests.crash.test_r7_kill_anywhere import MEMORY, call, faulty, ready_or_dead
from tests.waiting import until

from bento.errors import BentoError, BoxError


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_journal_that_cannot_be_written_refuses_and_recovers(error):
    broken = False
    async with process_box() as box, faulty(box, lambda _: error if broken else 0) as faults:
        await ready_or_dead(box)
        instance = await box.box.install(MEMORY)
        other = await box.box.install(MEMORY)
        broken, asked = True, len(faults.calls)
        with pytest.raises(BoxError, match="cannot start a sandbox now"):
            await box.box.install(MEMORY)
        assert len(faults.calls) > asked
        assert await call(instance, "a") == "a"  # who is there goes on
        await other.shutdown()  # an end needs no disk: processes that are gone do not come back
        with pytest.raises(BoxError, match="no such token"):
            await call(other, "a")
        broken = False
        assert await call(await box.box.install(MEMORY), "a") == "a"
        await box.end(signal.SIGKILL)
        await box.start()
        assert await call(instance, "b") == "a b"
        with pytest.raises(BoxError, match="no such token"):
            await call(other, "a")
        await box.end(signal.SIGINT)
        await until(lambda: box.left() == [])


async def test_a_full_disk_is_told_and_costs_no_instance():
    async with process_box() as box:
        with small_disk(box.state):
            box.identity = box.make_identity()
            await box.start()
            instance = await box.box.install(MEMORY)
            fill(box.state / "filler")
            installed, refusal = [], None
            while refusal is None:  # what the journal has room for still goes
                try:
                    installed.append(await box.box.install(MEMORY))
                    await installed.pop().shutdown()
                except BentoError as error:
                    refusal = error
            assert "cannot start a sandbox now" in refusal.detail
            assert await call(instance, "a") == "a"
            await box.end(signal.SIGKILL)
            (box.state / "filler").unlink()
            await box.start()
            assert await call(instance, "b") == "a b"
            await box.end(signal.SIGINT)
            await until(lambda: box.left() == [])


async def test_without_descriptors_nobody_new_comes_in_and_nobody_is_lost():
    async with process_box() as box:
        box.persistence = 0.0  # it may have none to refuse with: then it hangs up
        await box.start()
        instance = await box.box.install(MEMORY)
        session = await instance.invoke("wait")
        await session.started()
        pid = box.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, before[1]))
        with pytest.raises(BoxError, match="cannot start a sandbox now|hung up"):
            for _ in range(3):
                await box.box.install(MEMORY)
        await session.send(b"middle")
        assert await session.read() == b"first middle last"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        again = await box.box.install(MEMORY)
        assert await call(again, "a") == "a"
        await box.end(signal.SIGINT)
        await until(lambda: box.left() == [])


class small_disk:
    """A tmpfs of 256 KiB on `folder`."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        words = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(self.folder)]
        subprocess.run(words, check=True)

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def fill(path):
    """Leaves no free page."""
    with open(path, "wb", 0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
