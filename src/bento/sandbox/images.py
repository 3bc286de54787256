"""The images: named runtimes that a box offers. Data only; adding an image is adding a row.

An image never brings files of its own: it shows the machine's `/usr` read-only, so it is exactly as
up to date as the machine. Nothing else of the machine is visible but what `binds` lists, and what
`shown` adds: a conclave's libraries, which the box puts there (box.conclaves).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bento.errors import UsageError
from bento.sandbox.limits import GIB, MIB, Limits

UID = 1000  # inside every sandbox, whatever it is outside; Chromium's sandbox refuses uid 0

PRIVATE = "/tmp"  # noqa: S108 - inside: the sandbox's own tmpfs, the only place to write

_FILES = (
    ("/etc/passwd", b"function:x:1000:1000::/tmp:/usr/sbin/nologin\n"),
    ("/etc/group", b"function:x:1000:\n"),
    ("/etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n"),
)
_ENVIRONMENT = (
    ("HOME", PRIVATE),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/bin"),
    ("TZ", "UTC"),  # the machine's own zone would tell where it stands
)


@dataclass(frozen=True, slots=True)
class Image:
    """One row of the table."""

    name: str
    profile: str  # seccomp profile, see seccomp_table
    limits: Limits  # what an instance gets when its manifest asks for nothing
    binds: tuple[str, ...]  # of the machine, read-only; those that do not exist are left out
    programs: tuple[str, ...]  # that must exist for the image to be offered
    files: tuple[tuple[str, bytes], ...] = _FILES  # made up, read-only
    environment: tuple[tuple[str, str], ...] = _ENVIRONMENT
    proc: bool = False  # /proc shows mount sources and the machine's load: off unless needed
    nested_namespaces: bool = False  # a program inside makes a sandbox of its own
    shown: tuple[tuple[str, str], ...] = ()  # (of the machine, inside), read-only; must exist
    overhead: int = 0  # bytes of memory that its runtime takes before a function has any
    sparse: bool = False  # a program inside maps far more than it uses: RLIMIT_AS would end it


_PLAIN = {
    image.name: image
    for image in (
        Image(
            name="python",
            profile="python",
            limits=Limits(
                memory=64 * MIB, pids=64, cpu=0.5, disk=16 * MIB, inodes=4096, open_files=128
            ),
            binds=("/etc/ssl/certs",),
            programs=("/usr/bin/python3",),
        ),
        Image(
            name="browser",
            profile="browser",
            # Chromium 156 with one page: 0.5 to 0.8 GiB, about 16 processes and 150 threads.
            limits=Limits(
                memory=GIB, pids=512, cpu=2.0, disk=256 * MIB, inodes=16384, open_files=1024
            ),
            binds=("/etc/ssl/certs", "/etc/fonts"),
            programs=("/usr/bin/python3", "/usr/lib/chromium/chromium"),
            proc=True,
            nested_namespaces=True,
            sparse=True,
        ),
    )
}

_CONCLAVE_OVERHEAD = 32 * MIB  # TLS, sealed storage and their libraries; 15 are in use when idle


def _conclave(image: Image) -> Image:
    """The same in a conclave: what its guest needs for itself comes on top."""
    memory = image.limits.memory + _CONCLAVE_OVERHEAD
    limits = replace(image.limits, memory=memory)
    return replace(image, name=f"{image.name}-conclave", limits=limits, overhead=_CONCLAVE_OVERHEAD)


IMAGES: dict[str, Image] = _PLAIN | {image.name: image for image in map(_conclave, _PLAIN.values())}


def image_named(name: str) -> Image:
    """The image called `name`. Raises UsageError with the names there are."""
    try:
        return IMAGES[name]
    except KeyError:
        raise UsageError(
            f"there is no image called {name!r}", f"images: {', '.join(IMAGES)}"
        ) from None
