"""The Chromium that is ready: one to each who asks, and none for nobody."""

import os
import select
from pathlib import Path

import pytest

from bento.guest import chromium
from bento.guest.chromium import Program, Supply

STAND_IN = (
    '[ "$1" = --product-version ] && echo 156.7.8.9 && exit; echo "$@" >&4; exec sleep 1000\n'
)


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supply:
    """Of a program that tells its arguments on its pipe and waits."""
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n" + STAND_IN)
    program.chmod(0o755)
    monkeypatch.setattr(chromium, "PROGRAM", str(program))
    monkeypatch.setattr(chromium, "_HOME", str(tmp_path / "home-"))
    return Supply()


def said(program: Program) -> str:
    assert select.select([program.reader], [], [], 60)[0]
    return os.read(program.reader, 8000).decode()


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_starts_with_the_flags_of_every_chromium_and_an_ordinary_name(supply: Supply):
    program = supply.take()
    flags = said(program)
    assert flags.startswith(" ".join((*chromium.FLAGS, *chromium.HEADLESS)))
    assert " Chrome/156.0.0.0 Safari/" in flags
    chromium.end(program)


def test_each_who_asks_has_one_alone(supply: Supply):
    first, second = supply.take(), supply.take()
    assert first.pid != second.pid
    assert first.home != second.home
    assert f"--user-data-dir={second.home} " in said(second)
    for program in first, second:
        chromium.end(program)


def test_nobody_takes_it_so_nothing_of_it_stays(supply: Supply, tmp_path: Path):
    ready = supply._ready
    assert ready is not None
    assert is_there(ready.pid)
    supply.give_up(0)
    assert not is_there(ready.pid)
    assert not Path(ready.home).exists()
    late = supply.take()
    assert late.pid != ready.pid, "whoever asks later has one all the same"
    chromium.end(late)


def test_one_that_was_taken_is_not_given_up(supply: Supply):
    program = supply.take()
    supply.give_up(0)
    assert is_there(program.pid)
    chromium.end(program)


def test_where_none_can_be_started_only_whoever_asks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chromium, "_HOME", str(tmp_path / "home-"))
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(chromium, "_SHELL", "/nowhere/sh")
    supply = Supply()
    with pytest.raises(OSError, match="No such file"):
        supply.take()
    assert set(os.listdir("/proc/self/fd")) == before
