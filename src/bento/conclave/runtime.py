"""What runs inside a conclave, and its measurement.

A measurement is the same wherever the same release is installed: it covers the guest's sources and the
libraries it loads, file by file, and neither paths, times nor owners. So a client computes from its
own installation which emulated runtime to expect, and a reader of `docs/conclaves.md` can repeat the
published ones. The function is not part of it: it is uploaded after attestation, encrypted, so that
one measurement covers all functions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bento.conclave.claims import Kind
from bento.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Modules of this room that run in the guest, in the order they are imported.
GUEST_MODULES: Final = (
    "bento.conclave.binding",
    "bento.conclave.framing",
    "bento.conclave.tls",
    "bento.conclave.channel_guest",
    "bento.conclave.guest_socket",
    "bento.conclave.box_channel",
    "bento.conclave.box_socket",
    "bento.conclave.secret",
    "bento.conclave.sealed_block",
    "bento.conclave.sealed_room",
    "bento.conclave.sealed_held",
    "bento.conclave.sealed_file",
    "bento.conclave.storage",
    "bento.conclave.sealed_sqlite",
    "bento.conclave.sealed_paths",
    "bento.conclave.inside",
)
INSIDE: Final = GUEST_MODULES[-1]  # what a guest is told to begin with
# Libraries the guest loads. Not Debian's: its OpenSSL 3.0 has no post-quantum group.
LIBRARIES: Final = ("cffi", "cryptography", "pyOpenSSL", "typing_extensions")
# Written by the installer, different on each machine.
_INSTALLER_FILES: Final = frozenset(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
# By the interpreter that will run it; never checked against the source, which nobody changes there.
_COMPILE: Final = (
    *("/usr/bin/python3", "-I", "-S", "-m", "compileall", "-q"),
    *("--invalidation-mode", "unchecked-hash"),
)
_LENGTH: Final = struct.Struct(">Q")
_LABEL: Final = b"bento runtime v1\0"


def measure(parts: Mapping[str, bytes]) -> bytes:
    """32 bytes over names and contents. Each is preceded by its length, so nothing can be moved
    from one to another.
    """
    digest = hashlib.sha256(_LABEL)
    for name in sorted(parts):
        for piece in (name.encode(), parts[name]):
            digest.update(_LENGTH.pack(len(piece)))
            digest.update(piece)
    return digest.digest()


def sources(modules: tuple[str, ...] = GUEST_MODULES) -> dict[str, bytes]:
    """The source of each module, by name."""
    found = {}
    for module in modules:
        package, _, name = module.rpartition(".")
        found[module] = files(package).joinpath(f"{name}.py").read_bytes()
    return found


def libraries() -> dict[str, bytes]:
    """The SHA-256 of each file of the libraries, by its path in site-packages."""
    return {name: hashlib.sha256(path.read_bytes()).digest() for name, path in _library_files()}


def export_libraries(folder: Path) -> Path:
    """Copy the libraries to a folder named by their measurement, readable by everyone, compiled.

    A sandbox's user can rarely read the place where this program is installed, nor keep what it
    compiles; compiling each time would double a conclave's start. Returns the folder, to be put on
    the guest's `sys.path`. Takes a second or two, once a release. Raises HostError.
    """
    target = folder / measure(libraries()).hex()
    if target.exists():
        return target
    making = folder / f".{target.name}.{os.getpid()}"
    try:
        for name, path in _library_files():
            copy = making / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        subprocess.run([*_COMPILE, str(making)], check=True, capture_output=True)
        for made in (making, *making.rglob("*")):
            made.chmod(0o755 if made.is_dir() else 0o644)
        making.rename(target)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(making, ignore_errors=True)
        if target.exists():
            return target  # another box was quicker
        raise HostError(f"the conclave's libraries cannot be copied to {folder}") from error
    return target


def published(extra: Mapping[str, bytes] | None = None) -> frozenset[str]:
    """Runtimes this release vouches for: what this installation itself would run, emulated.

    `extra`: further parts of the guest. No hardware runtime is published yet: none was ever
    built and measured on hardware.
    """
    return frozenset((runtime_id(measurement(extra)),))


def measurement(extra: Mapping[str, bytes] | None = None) -> bytes:
    """The measurement of this installation's guest; `extra`: its parts from other rooms."""
    return measure({**sources(), **libraries(), **(extra or {})})


def runtime_id(measured: bytes) -> str:
    """How policies and claims name an emulated runtime."""
    return f"{Kind.EMULATED}:{measured.hex()}"


def gramine_manifest() -> str:
    """The template for Gramine; untested on hardware."""
    name = "python-conclave.manifest.template"
    return files("bento.conclave").joinpath("gramine", name).read_text()


def _library_files() -> Iterator[tuple[str, Path]]:
    for library in LIBRARIES:
        try:
            installed = metadata.files(library)
        except metadata.PackageNotFoundError as error:
            raise HostError(f"{library} is not installed") from error
        for file in installed or ():
            if file.parts[0] == ".." or "__pycache__" in file.parts:
                continue
            if file.name not in _INSTALLER_FILES:
                yield file.as_posix(), Path(str(file.locate()))
