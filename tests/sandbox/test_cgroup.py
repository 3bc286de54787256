"""Control groups of both versions: what is found on a machine, and what is written where.

Version 2 is written into folders that look like one; version 1 is what the other tests run on where
a machine has it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bento.errors import HostError
from bento.sandbox import hierarchies
from bento.sandbox.cgroup import Group, Usage
from bento.sandbox.hierarchies import WANTED, Hierarchy, mounted
from bento.sandbox.limits import MIB, Limits

LIMITS = Limits(memory=64 * MIB, pids=16, cpu=0.5, disk=MIB, inodes=100, open_files=64)

PURE_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
PURE_1 = """\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
NOTHING = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"


def test_a_machine_of_version_2_has_one_tree() -> None:
    assert mounted(NOTHING + PURE_2) == [(2, Path("/sys/fs/cgroup"), WANTED)]


def test_a_machine_of_version_1_has_a_tree_for_each_controller() -> None:
    assert mounted(NOTHING + PURE_1) == [
        (1, Path("/sys/fs/cgroup/cpu,cpuacct"), frozenset({"cpu", "cpuacct"})),
        (1, Path("/sys/fs/cgroup/memory"), frozenset({"memory"})),
        (1, Path("/sys/fs/cgroup/pids"), frozenset({"pids"})),
    ]


def test_a_machine_may_mix_them() -> None:
    mixed = PURE_1 + PURE_2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    assert [version for version, _, _ in mounted(mixed)] == [1, 1, 1, 2]


def test_a_machine_without_any_has_none() -> None:
    assert mounted(NOTHING) == []


FILES_2 = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max", "cpu.weight")


@pytest.fixture
def tree_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchy:
    """A folder in which new folders have the files of a version 2 group."""
    made = Path.mkdir

    def mkdir(self: Path, *arguments: int, **options: bool) -> None:
        made(self, *arguments, **options)  # type: ignore[arg-type]
        for name in (*FILES_2, "cgroup.procs"):
            (self / name).touch()
        (self / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
        (self / "memory.current").write_text("12345\n")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return Hierarchy(2, tmp_path, WANTED)


def use(monkeypatch: pytest.MonkeyPatch, *found: Hierarchy) -> None:
    """This machine has these."""
    monkeypatch.setattr(hierarchies, "ours", lambda: found)


def test_version_2_limits_are_written(tree_2: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tree_2)
    group = Group.create("one", LIMITS)
    written = {name: (tree_2.base / "one" / name).read_text() for name in FILES_2}
    assert written == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "17",  # with bubblewrap's outer process
        "cpu.max": "50000 100000",
        "cpu.weight": "100",
    }
    assert group.unified == tree_2.base / "one"
    assert group.tasks == []
    assert group.enforces == WANTED
    assert group.usage() == Usage(1.5, 12345)
    group.unthrottle()
    assert (tree_2.base / "one/cpu.max").read_text().startswith("max")


def test_a_tree_that_lacks_a_controller_does_not_claim_it(
    tree_2: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Hierarchy(2, tree_2.base, frozenset({"pids"})))
    group = Group.create("one", LIMITS)
    assert group.enforces == {"pids"}
    assert (tree_2.base / "one/memory.max").read_text() == ""


def test_a_limit_that_cannot_be_written_is_an_error_and_leaves_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Hierarchy(2, tmp_path, WANTED))
    with pytest.raises(HostError):
        Group.create("one", LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_a_group_of_that_name_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Hierarchy(2, tmp_path, WANTED))
    (tmp_path / "one").mkdir()
    with pytest.raises(HostError):
        Group.create("one", LIMITS)
    assert (tmp_path / "one").is_dir()


def test_what_a_crash_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    hierarchies.sweep(tmp_path)
    assert (tmp_path / "new").exists()  # perhaps another bentod is about to use it
    monkeypatch.setattr(hierarchies, "_ABANDONED", -1.0)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy/process").touch()
    hierarchies.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["busy"]


async def test_real_groups_hold_their_limits_and_go_away() -> None:
    found = hierarchies.ours()
    if not found:
        return  # an ordinary user: the level "rlimit" has tests of its own
    group = Group.create("test-real", LIMITS)
    try:
        folders = [hierarchy.base / "test-real" for hierarchy in found]
        limits = {path.name: path.read_text().strip() for f in folders for path in f.glob("*.max")}
        assert limits["pids.max"] == "17"
        assert group.processes() == []
        larger = Limits(**{**_fields(LIMITS), "memory": 128 * MIB})
        group.set(larger)
        group.set(LIMITS)
    finally:
        await group.remove()
    assert not any(folder.exists() for folder in folders)
    assert group.usage() == Usage(0.0, 0)


def _fields(limits: Limits) -> dict[str, float]:
    return {name: getattr(limits, name) for name in Limits.__slots__}
