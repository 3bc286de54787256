"""The options that make bubblewrap build the jail. Pure: nothing is run here.

What they promise: namespaces of its own of every kind; no capability, ever; a root that is
read-only everywhere but in one private tmpfs; no name, path or user of the machine
inside; no terminal. `--die-with-parent` is left out on purpose: instances outlive a restart of
bentod. The tmpfs comes from the jailer, since bubblewrap 0.8 cannot bound its inodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bento.sandbox.images import PRIVATE, UID, Image

PROGRAM = "/usr/bin/bwrap"
_HOSTNAME = "bento"
_DEVICES = ("null", "zero", "urandom")  # each costs 0.1 ms at every start
# Of /proc, where an image needs one: what tells this machine from another (boot id, kernel command
# line, devices) or what runs on it. Each process's own mountinfo stays: it names the disk's device.
_HIDDEN_FOLDERS = ("acpi", "bus", "driver", "fs", "irq", "scsi", "sys", "tty")
_HIDDEN_FILES = (
    "cmdline", "config.gz", "consoles", "devices", "diskstats", "interrupts", "iomem", "ioports",
    "kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecount", "kpageflags", "loadavg", "locks",
    "misc", "modules", "partitions", "pressure/cpu", "pressure/io", "pressure/memory", "sched_debug",
    "schedstat", "slabinfo", "softirqs", "stat", "swaps", "sysrq-trigger", "timer_list", "uptime",
    "version", "vmallocinfo", "vmstat", "zoneinfo",
)  # fmt: skip
# Merged /usr, as in every Debian since 12; what is missing here is missing inside.
_LINKS = tuple(name for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"))

_NAMESPACES = [
    "--unshare-user",
    "--unshare-all",
]  # --unshare-all alone would only try for a user ns
_IDENTITY = ["--uid", str(UID), "--gid", str(UID), "--cap-drop", "ALL", "--hostname", _HOSTNAME]


def options(
    image: Image, *, info: int, seccomp: int, gate: int, files: Mapping[str, int]
) -> list[str]:
    """The options for `image`; `info` and the like are numbers of descriptors, all closed inside.

    bubblewrap writes the sandbox's first process id to `info`, reads the BPF program from `seccomp`
    and the content of each made-up file from its own descriptor, and when the jail stands waits
    until `gate` can be read.
    """
    return [
        *_NAMESPACES,
        *([] if image.nested_namespaces else ["--disable-userns"]),
        *_IDENTITY,
        "--new-session",
        "--as-pid-1",
        "--clearenv",
        *(word for name, value in image.environment for word in ("--setenv", name, value)),
        *_root(image, files),
        "--bind", PRIVATE, PRIVATE,  # what the jailer mounted there
        "--symlink", PRIVATE, "/dev/shm",  # noqa: S108 - one size bounds shared memory too
        *(_proc() if image.proc else []),
        "--remount-ro", "/",
        "--chdir", PRIVATE,
        "--info-fd", str(info),
        "--seccomp", str(seccomp),
        "--block-fd", str(gate),
    ]  # fmt: skip


def _proc() -> list[str]:
    words = ["--proc", "/proc"]
    for name in _HIDDEN_FOLDERS:
        if Path("/proc", name).is_dir():
            words += ["--size", "4096", "--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    for name in _HIDDEN_FILES:
        if Path("/proc", name).exists():
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    return words


def _root(image: Image, files: Mapping[str, int]) -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    if Path("/usr/local").is_dir():  # the operator's own programs are nobody's business
        words += ["--size", "4096", "--tmpfs", "/usr/local", "--remount-ro", "/usr/local"]
    for name in _LINKS:
        if Path("/usr", name).is_dir():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
    for path in image.binds:
        words += ["--ro-bind-try", path, path]
    for outside, inside in image.shown:
        words += ["--ro-bind", outside, inside]
    for path, descriptor in files.items():
        words += ["--perms", "0444", "--file", str(descriptor), path]
    for device in _DEVICES:
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*words, "--symlink", "urandom", "/dev/random"]
