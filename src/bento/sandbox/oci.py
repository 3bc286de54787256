"""An OCI bundle for an image, and the command that runs it. Pure: nothing is run here.

The jailer lays the bundle out at /run of its own mount namespace, where the runtime keeps its state
too: all of it is gone with that namespace. The system-call filter is not in the bundle: the loader
puts the same BPF program on for every runtime. Source: the OCI Runtime Specification 1.0.2.
"""

from __future__ import annotations

import json
import marshal
import resource
from functools import cache
from pathlib import Path

from bento.sandbox import loader, rlimits, seccomp
from bento.sandbox.images import PRIVATE, Image
from bento.sandbox.limits import Limits
from bento.sandbox.runtimes import Runtime

_PYTHON = "/usr/bin/python3"
_HOSTNAME = "bento"
_NAME = "instance"
_VERSION = "1.0.2"
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_READ_ONLY = ["rbind", "ro", "nosuid", "nodev"]
# The network namespace is the jailer's: a runtime would leave its loopback down.
_NAMESPACES = ("pid", "ipc", "uts", "mount", "cgroup", "user")
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")

_RUN = ("run", "--detach", "--pid-file", "/run/pid", "--bundle", "/run")
_COMMANDS: dict[str, tuple[str, ...]] = {
    "crun": ("--cgroup-manager=disabled", "--root=/run/state", *_RUN, "--preserve-fds=1"),
    "runc": ("--root=/run/state", *_RUN, "--preserve-fds=1"),
    # KVM may hang where it is itself emulated; ptrace works everywhere.
    "runsc": (
        *("--rootless", "--ignore-cgroups", "--network=none", "--platform=ptrace"),
        *("--root=/run/state", "run", "-detach", "-pid-file=/run/pid", "-bundle=/run"),
    ),
}


def command(runtime: Runtime) -> list[str]:
    """What runs a bundle laid out at /run."""
    return [runtime.program, *_COMMANDS[runtime.name], _NAME]


def bundle(image: Image, limits: Limits, runtime: Runtime, uid: int) -> bytes:
    """For the jailer, marshalled: folders to be "hidden", how many user "namespaces" may be made, and
    what lies below /run: "folders", "links", "files". `uid` is the instance's outside."""
    files = dict(image.files)
    files["/etc/passwd"] = f"function:x:{runtime.uid}:{runtime.uid}::/tmp:/bin/false\n".encode()
    return marshal.dumps(
        {
            # The instance is in its groups already. crun 1.8 would refuse a machine that mixes both
            # versions of them; runc wants to see that it may make none.
            "hidden": [b"/sys/fs/cgroup"] if runtime.name == "crun" else [],
            # The runtime's own; a function could make none even without the filter.
            "namespaces": "" if runtime.carried else "1",
            "folders": ["root", *(f"root/{name}" for name in ("usr", "etc", "dev", "proc", "tmp"))],
            "links": {
                f"root/{name}": f"usr/{name}" for name in _LINKS if Path("/usr", name).is_dir()
            },
            "files": {
                **{f"root{path}": content for path, content in files.items()},
                "config.json": json.dumps(_config(image, limits, runtime, uid)).encode(),
            },
        }
    )


def _config(image: Image, limits: Limits, runtime: Runtime, uid: int) -> dict[str, object]:
    return {
        "ociVersion": _VERSION,
        "process": _process(image, limits, runtime),
        "root": {"path": "root", "readonly": True},
        "hostname": _HOSTNAME,
        "mounts": _mounts(image, runtime),
        "linux": _linux(runtime, uid),
    }


def _process(image: Image, limits: Limits, runtime: Runtime) -> dict[str, object]:
    return {
        "terminal": False,
        "user": {"uid": runtime.uid, "gid": runtime.uid},
        "args": [_PYTHON, "-I", "-S", "-c", _text(image.profile, runtime)],
        "env": [f"{name}={value}" for name, value in image.environment],
        "cwd": PRIVATE,
        "noNewPrivileges": True,
        "capabilities": {name: [] for name in _CAPABILITIES},
        "rlimits": [
            {"type": name, "soft": value, "hard": value}
            for which, value in rlimits.values(image, limits, grouped=True).items()
            if (name := _RLIMITS.get(which))
        ],
    }


_RLIMITS = {
    getattr(resource, name): name
    for name in (
        "RLIMIT_NOFILE",
        "RLIMIT_CORE",
        "RLIMIT_MEMLOCK",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_RTPRIO",
        "RLIMIT_SIGPENDING",
    )
}


@cache
def _text(profile: str, runtime: Runtime) -> str:
    filters = (seccomp.program(profile, grouped=True), seccomp.seal(profile))
    return loader.text(*filters, gate=runtime.gate, carried=runtime.carried)


def _mounts(image: Image, runtime: Runtime) -> list[dict[str, object]]:
    shown = [("/usr", "/usr"), *((path, path) for path in image.binds if Path(path).exists())]
    return [
        _mount("/proc", "proc", ["nosuid", "noexec", "nodev", *_proc(runtime)], "proc"),
        *(_mount(inside, outside, _READ_ONLY) for outside, inside in (*shown, *image.shown)),
        *([_mount("/usr/local", "tmpfs", ["ro", "size=4096"], "tmpfs")] if _LOCAL.is_dir() else []),
        _mount(PRIVATE, PRIVATE, ["bind", "rw", "nosuid", "nodev"]),
        _mount("/dev", "tmpfs", ["nosuid", "mode=755", "size=65536"], "tmpfs"),
        _mount("/dev/shm", PRIVATE, ["bind", "rw", "nosuid", "nodev"]),  # noqa: S108
    ]


_LOCAL = Path("/usr/local")  # the operator's own programs are nobody's business


def _proc(runtime: Runtime) -> list[str]:
    return [] if runtime.carried else ["subset=pid"]  # gVisor's /proc is its own


def _mount(inside: str, source: str, options: list[str], kind: str = "none") -> dict[str, object]:
    return {"destination": inside, "source": source, "type": kind, "options": options}


def _linux(runtime: Runtime, uid: int) -> dict[str, object]:
    if runtime.carried:
        return {"namespaces": [{"type": kind} for kind in _NAMESPACES if kind != "user"]}
    maps = [{"containerID": runtime.uid, "hostID": uid, "size": 1}]
    return {
        "namespaces": [{"type": kind} for kind in _NAMESPACES],
        "uidMappings": maps,
        "gidMappings": maps,
        "maskedPaths": ["/proc"] if runtime.masks_proc else [],
    }
