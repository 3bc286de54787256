"""Limits of single processes, put on by the jailer before bubblewrap runs.

On the level "cgroup" they only close what no group counts. On the level "rlimit" they are all there
is beside the governor: memory is bounded by RLIMIT_AS times RLIMIT_NPROC, and the latter counts per
user namespace (Linux 5.14), so each sandbox has its own though all share one user.
"""

from __future__ import annotations

import contextlib
import resource

from bento.sandbox.images import Image
from bento.sandbox.limits import MIB, SUPERVISOR, Limits

NICE = 10  # tor and bentod first
IO_PRIORITY = (2 << 13) | 7  # best effort, the last level of it (linux/ioprio.h)
OOM_SCORE = 1000  # the machine out of memory: an instance goes before anything of the relay's
_PENDING_SIGNALS = 256  # timers too: each holds a slot of kernel memory
_INTERPRETER = 12 * MIB  # address space that is code, not data: python3 and its C library


Values = dict[int, int]  # by RLIMIT_ number; soft and hard alike


def values(image: Image, limits: Limits, *, grouped: bool) -> Values:
    """For every process of a sandbox; `grouped` where control groups limit memory and processes."""
    always = {
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_SIGPENDING: _PENDING_SIGNALS,
    }
    return always if grouped else always | _instead_of_groups(image, limits)


def _instead_of_groups(image: Image, limits: Limits) -> Values:
    processes = {resource.RLIMIT_NPROC: limits.pids + SUPERVISOR}
    return (
        processes
        if image.sparse
        else processes | {resource.RLIMIT_AS: limits.memory + _INTERPRETER}
    )


def change(pid: int, image: Image, limits: Limits) -> None:
    """New values for memory and processes where no group limits them.

    Raises PermissionError if the process is another user's and we lack CAP_SYS_RESOURCE.
    """
    with contextlib.suppress(ProcessLookupError):
        for which, value in _instead_of_groups(image, limits).items():
            resource.prlimit(pid, which, (value, value))
