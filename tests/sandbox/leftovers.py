"""What a sandbox must not leave behind, looked up by its name."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from tests.canaries import LOOKING

from bento.sandbox import Sandbox


class Traces:
    """Where `sandbox` can be seen while it lives."""

    def __init__(self, sandbox: Sandbox) -> None:
        name, uid = sandbox.record.group or "no group", _uid(sandbox.pid)
        self._paths = [sandbox.socket_path]
        self._paths += Path("/sys/fs/cgroup").glob(f"*/bento/{name}")
        self._paths += Path("/sys/fs/cgroup").glob(f"bento/{name}")
        self._paths += [path for path in [Path(f"/run/bento-uids/{uid}")] if path.exists()]
        self._pids = [sandbox.pid, _parent(sandbox.pid)]

    @property
    def left(self) -> list[str]:
        """What of it is still there."""
        paths = [str(path) for path in self._paths if path.exists()]
        return paths + [f"process {pid}" for pid in self._pids if is_running(pid)]


def is_running(pid: int) -> bool:
    """Whether the process is there and not merely waiting for the machine's init to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def open_descriptors() -> int:
    """How many descriptors this process has; those that an earlier test has only let go of do not count, nor
    those of the search for canaries."""
    gc.collect()
    with LOOKING:
        return len(os.listdir("/proc/self/fd"))


def mounts() -> str:
    """The machine's mounts, as we see them, without the small disks of tests/crash."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return "\n".join(line for line in lines if " /tmp/crash-" not in line)
