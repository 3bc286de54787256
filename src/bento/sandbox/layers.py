"""Which layers of the jail this machine has: shown by a sandbox that really runs, not by promises.

layers = await check(run_dir, guest_blob)
missing = [layer for layer in layers if not layer.present]
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bento.errors import BentoError
from bento.sandbox import bubblewrap, hierarchies, rlimits
from bento.sandbox.images import IMAGES
from bento.sandbox.runtimes import BUBBLEWRAP, Runtime
from bento.sandbox.sandbox import Sandbox
from bento.sandbox.seccomp import call_number
from bento.sandbox.spawn import spawn

_IOPRIO_WHO_PROCESS = 1
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; `detail` says how it is there, or why not."""

    name: str
    present: bool
    detail: str


LIMITS = tuple(
    f"limit of {controller} by control group" for controller in sorted(hierarchies.WANTED)
)
OWN_USER = "a user of its own"
TOR_FIRST = "tor goes first"
UNPRIVILEGED = (*LIMITS, OWN_USER, TOR_FIRST)
"""What a bentod of an ordinary user may have to do without, where nobody delegates control groups."""


def standing(runtime: Runtime = BUBBLEWRAP) -> list[Layer]:
    """What can be seen without a sandbox."""
    return [_runtime(runtime), _seccomp_library(), *_programs(), *_groups()]


def seen_on(sandbox: Sandbox) -> list[Layer]:
    """What is seen on a sandbox that runs."""
    probes = _CARRIED if sandbox.runtime.carried else _PROBES
    started = Layer("a sandbox starts", True, f"limits by {sandbox.level}")
    return [started, *(probe(sandbox) for probe in probes)]


async def check(run_dir: Path, guest_blob: bytes, runtime: Runtime = BUBBLEWRAP) -> list[Layer]:
    """Every layer, all looked at in one run. Raises nothing: what fails is a layer that is missing."""
    layers = standing(runtime)
    image = IMAGES["python"]
    try:
        sandbox = await spawn(
            image, image.limits, run_dir, f"check-{os.getpid()}", guest_blob, runtime
        )
    except BentoError as error:
        return [*layers, Layer("a sandbox starts", False, str(error))]
    try:
        layers += seen_on(sandbox)
    finally:
        await sandbox.kill()
        sandbox.close()
    return layers


def _runtime(runtime: Runtime) -> Layer:
    program = runtime.program if runtime.is_oci else bubblewrap.PROGRAM
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return Layer(runtime.name, False, f"apt-get install {runtime.name}")
    return Layer(runtime.name, True, (done.stdout.splitlines() or [""])[0].strip())


def _seccomp_library() -> Layer:
    class Version(ctypes.Structure):
        _fields_ = [("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint)]

    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return Layer("libseccomp", False, "apt-get install libseccomp2")
    library.seccomp_version.restype = ctypes.POINTER(Version)
    version = library.seccomp_version().contents
    return Layer("libseccomp", True, f"{version.major}.{version.minor}.{version.micro}")


def _programs() -> list[Layer]:
    found = []
    for image in IMAGES.values():
        missing = [program for program in image.programs if not os.access(program, os.X_OK)]
        detail = f"missing: {', '.join(missing)}" if missing else "its programs are there"
        found.append(Layer(f"image {image.name}", not missing, detail))
    return found


def _groups() -> list[Layer]:
    found = []
    for controller, name in zip(sorted(hierarchies.WANTED), LIMITS, strict=True):
        homes = [h for h in hierarchies.ours() if controller in h.controllers]
        detail = (
            f"version {homes[0].version}, below {homes[0].base}"
            if homes
            else "no control group is ours to make: run as root, or with systemd's Delegate=yes"
        )
        found.append(Layer(name, bool(homes), detail))
    return found


# -- on a running sandbox ---------------------------------------------------------------------------


def _status(sandbox: Sandbox) -> dict[str, str]:
    lines = Path(f"/proc/{sandbox.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _namespace(process: int | str, name: str) -> Path:
    return Path(f"/proc/{process}/ns/{name}").readlink()


def _namespaces(sandbox: Sandbox) -> Layer:
    shared = [
        name for name in _NAMESPACES if _namespace(sandbox.pid, name) == _namespace("self", name)
    ]
    detail = f"shared with the machine: {', '.join(shared)}" if shared else ", ".join(_NAMESPACES)
    return Layer("namespaces of its own", not shared, detail)


def _filter(sandbox: Sandbox) -> Layer:
    status = _status(sandbox)
    loaded = status.get("Seccomp") == "2"
    return Layer(
        "system call filter",
        loaded,
        f"{status.get('Seccomp_filters', '?')} filters loaded, {platform.machine()}"
        if loaded
        else "the kernel has no seccomp filters",
    )


def _privilege(sandbox: Sandbox) -> Layer:
    status = _status(sandbox)
    clean = status["NoNewPrivs"] == "1" and not any(int(status[n], 16) for n in _CAPABILITIES)
    return Layer("no capabilities, none to gain", clean, "no_new_privs, five empty sets")


def _user(sandbox: Sandbox) -> Layer:
    outside = int(_status(sandbox)["Uid"].split()[0])
    own = outside != os.getuid()
    detail = (
        f"user {outside}, each instance another" if own else "bentod's own user: run bentod as root"
    )
    return Layer(OWN_USER, own, detail)


def _priority(sandbox: Sandbox) -> Layer:
    nice = os.getpriority(os.PRIO_PROCESS, sandbox.pid)
    score = int(Path(f"/proc/{sandbox.pid}/oom_score_adj").read_text())
    disks = io_priority(sandbox.pid)
    last = nice >= rlimits.NICE and disks == rlimits.IO_PRIORITY and score == rlimits.OOM_SCORE
    detail = f"nice {nice}, i/o priority {disks & 7} of 7 (by control group: not weighed)"
    return Layer(TOR_FIRST, last, f"{detail}, out-of-memory score {score}")


def io_priority(pid: int) -> int:
    """The class (shifted by 13) and level by which the kernel serves a process's reads and writes."""
    number = call_number("ioprio_get")
    assert number is not None
    return int(ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, pid))


_PROBES: tuple[Callable[[Sandbox], Layer], ...] = (
    _namespaces,
    _filter,
    _privilege,
    _user,
    _priority,
)
# gVisor shows a function none of the machine's processes and gives it none of its own privilege, by
# a kernel of its own: what the machine sees of it is that kernel.
_CARRIED: tuple[Callable[[Sandbox], Layer], ...] = (_filter, _user, _priority)
