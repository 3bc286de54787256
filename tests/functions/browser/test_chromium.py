"""A Chromium that only we can drive, and of which nothing is left."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.functions.browser.box import descendants, kind_of
from tests.waiting import until

from bento.functions.browser import jail
from bento.functions.browser.cdp import ChromiumGoneError
from bento.functions.browser.chromium import Chromium
from bento.functions.browser.launch import launch, user_agent, version
from bento.guest.chromium import FLAGS, HEADLESS

SLEEPER = ["/bin/sh", "-c", "exec sleep 1000", "sh"]


def jailed() -> Chromium:
    return launch(jail.command(), profile=jail.PROFILE)


def test_it_answers_on_its_pipe_and_listens_nowhere() -> None:
    with jailed() as chromium:
        assert chromium.connection.call("Browser.getVersion").text("product").startswith("Chrome/")
        pids = [p for p in descendants(chromium.pid) if kind_of(p)]
        listening = []
        for pid in pids:
            for family in ("tcp", "tcp6"):
                lines = Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]
                listening += [line for line in lines if line.split()[3] == "0A"]
        assert pids
        assert listening == []


async def test_no_renderer_is_started_but_the_pages() -> None:
    """A browser's own windows are drawn by renderers too, if they are to be seen."""
    with jailed() as chromium:
        chromium.connection.call("Target.createTarget", {"url": "data:text/html,page"})
        await until(lambda: bool(renderers(chromium.pid)))
        await asyncio.sleep(1)
        assert len(renderers(chromium.pid)) == 1


def renderers(pid: int) -> list[int]:
    return [each for each in descendants(pid) if kind_of(each) == "renderer"]


def test_a_program_that_ends_at_once_is_described() -> None:
    program = ["/bin/sh", "-c", "echo 'no such display' >&2; exit 7", "sh"]
    with launch(program) as chromium:
        with pytest.raises(ChromiumGoneError):
            chromium.connection.call("Browser.getVersion")
        assert chromium.obituary() == "Chromium ended with status 7: no such display"


def test_a_program_that_is_killed_is_described() -> None:
    with launch(SLEEPER) as chromium:
        os.kill(chromium.pid, 9)
        with pytest.raises(ChromiumGoneError):
            chromium.connection.call("Browser.getVersion")
        assert chromium.obituary().startswith("Chromium ended by signal 9 (it may need")


def test_a_program_that_is_not_there_leaves_nothing() -> None:
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        launch(["/usr/lib/chromium/not-there"])
    assert set(os.listdir("/proc/self/fd")) <= set(descriptors)


def test_its_profile_and_descriptors_are_gone_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    with launch(SLEEPER) as chromium:
        assert len(list(tmp_path.iterdir())) == 1
        pid = chromium.pid
    chromium.close()  # once more does no harm
    until = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before:  # the thread on its stderr ends by itself
        assert time.monotonic() < until
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{pid}").exists()


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    with launch(["/bin/sh", "-c", f"sleep 1000 & echo $! > {number}; exec sleep 1000", "sh"]):
        until = time.monotonic() + 10
        while not (number.exists() and number.read_text().endswith("\n")):
            assert time.monotonic() < until
            time.sleep(0.01)
        child = Path(f"/proc/{number.read_text().strip()}")
        assert child.exists()
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < until, "a child of it lives on"
        time.sleep(0.01)


def test_it_inherits_only_its_pipe(tmp_path: Path) -> None:
    """Other descriptors of ours, even inheritable ones of this moment, are not its business."""
    listing = tmp_path / "fds"
    with (tmp_path / "secret").open("w") as secret:
        with launch(["/bin/sh", "-c", f"ls -l /proc/self/fd > {listing}; sleep 9", "sh"]):
            until = time.monotonic() + 10
            while not (listing.exists() and "total" in listing.read_text()):
                assert time.monotonic() < until
                time.sleep(0.01)
            time.sleep(0.05)
        assert secret.name not in listing.read_text()


def test_the_version_is_the_installed_ones() -> None:
    assert user_agent(version()).endswith(
        f"Chrome/{version().partition('.')[0]}.0.0.0 Safari/537.36"
    )


@pytest.mark.parametrize("odd", ["", "x", "Chrome/1234567.0", "156 --no-sandbox", "\n1.2"])
def test_an_odd_version_in_a_pack_gives_a_flag_all_the_same(odd: str) -> None:
    assert " Chrome/0.0.0.0 " in user_agent(odd)


def test_chromiums_own_sandbox_is_never_switched_off() -> None:
    assert not any("sandbox" in flag for flag in (*FLAGS, *HEADLESS))
