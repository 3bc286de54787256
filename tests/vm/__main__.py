"""`python -m tests.vm [TEST...]` (`make vm`): the sandbox's tests under control groups of version 2 alone.

Debian's own kernel runs in qemu, in software, with nothing but an initial RAM disk made of this
machine's files: no network, no disk, nothing of this machine written. Exit 0 if all tests passed.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.vm.archive import Archive
from tests.vm.kernel import fetch

PROJECT = Path(__file__).parents[2]
HERE = Path(__file__).parent
TESTS = (
    *("tests/sandbox/test_cgroup.py", "tests/sandbox/test_limits_hold.py"),
    *("tests/sandbox/test_end.py", "tests/sandbox/test_rootless.py"),
)
# Chromium is not in the RAM disk.
LEFT_OUT = (
    "--deselect=tests/sandbox/test_rootless.py::test_chromium_runs_with_its_own_sandbox_here_too",
)
PROGRAMS = "bwrap dash env ldconfig nsenter python3.11 setpriv true unshare"
LIBRARIES = "libseccomp.so.2 libgcc_s.so.1"
PACKAGES = (
    "_pytest iniconfig packaging pluggy py.py pygments pytest pytest_asyncio typing_extensions.py"
)
METADATA = "iniconfig pluggy pytest pytest_asyncio"
KERNEL = PROJECT / "build/vm"
_MEMORY = "1536"  # MiB


def main(tests: tuple[str, ...]) -> int:
    kernel = fetch(KERNEL)
    with tempfile.TemporaryDirectory(prefix="bento-vm-") as folder:
        disk = Path(folder, "disk")
        with disk.open("wb") as file:
            fill(Archive(file))
        return run(kernel, disk, tests)


def fill(archive: Archive) -> None:
    """What the tests need of this machine, and of the project."""
    for name in PROGRAMS.split():
        found = next(p for f in ("/usr/bin", "/usr/sbin") if (p := Path(f, name)).exists())
        archive.add_program(found)
    library = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH"))
    for name in LIBRARIES.split():
        archive.add_program(library / name)
    for module in Path("/usr/lib/python3.11/lib-dynload").glob("*.so"):
        archive.add_program(module)
    archive.add(Path("/usr/lib/python3.11"))
    for name in ("bin", "sbin", "lib", "lib64"):
        archive.link(f"/{name}", f"usr/{name}")
    archive.link("/usr/bin/python3", "python3.11")
    archive.link("/usr/bin/sh", "dash")
    site = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES.split():
        archive.add(site / name, Path("/bento/site-packages", name))
    for name in METADATA.split():
        for path in site.glob(f"{name}-*.dist-info"):
            archive.add(path, Path("/bento/site-packages", path.name))
    for name in ("pyproject.toml", "src/bento/__init__.py", "src/bento/errors.py"):
        archive.add(PROJECT / name, Path("/bento", name))
    for name in ("src/bento/sandbox", "tests/sandbox"):
        archive.add(PROJECT / name, Path("/bento", name))
    archive.add(HERE / "init.py", Path("/init"))
    archive.close()


def run(kernel: Path, disk: Path, tests: tuple[str, ...]) -> int:
    """What the machine says of the tests, shown as it comes."""
    words = ["console=ttyS0 quiet loglevel=1 panic=-1 cgroup_no_v1=all", f"tests={','.join(tests)}"]
    command = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
        *("-m", _MEMORY, "-nographic", "-no-reboot", "-nic", "none"),
        *("-kernel", str(kernel), "-initrd", str(disk), "-append", " ".join(words)),
    ]
    verdict = ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert machine.stdout is not None
        for line in machine.stdout:
            text = line.decode(errors="replace").rstrip()
            print(text, flush=True)
            if text.startswith("verdict: "):
                verdict = text
    return 0 if verdict == "verdict: 0" else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or (*TESTS, *LEFT_OUT)))
