"""A tor program, started and supervised."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bento.errors import HostError, TorError, UsageError
from bento.tor import process as process_module
from bento.tor.process import TorProcess

OFFLINE = [("DisableNetwork", "1"), ("SocksPort", "0")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def fake_program(folder: Path, body: str) -> str:
    path = folder / "tor-program"
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return str(path)


async def test_a_started_tor_answers_and_a_stopped_one_is_gone(short_folder):
    tor = TorProcess(OFFLINE, short_folder / "tor", "mine")
    await tor.start()
    pid = tor.pid
    controller = await tor.controller()
    assert (await controller.get_info("process/pid"))["process/pid"] == str(pid)
    await tor.stop()
    await tor.stop()
    assert not alive(pid)
    assert await tor.exited == 0
    assert controller.closed.done()


async def test_nothing_of_the_machine_s_own_configuration_is_read(offline_tor):
    async with await offline_tor.controller() as controller:
        info = await controller.get_info("config-file", "config-defaults-file")
    folder = str(offline_tor.data_directory)
    assert all(path.startswith(folder) for path in info.values())


@pytest.mark.parametrize(
    "contact", ['"quoted" \\ text', "number # sign", "é", " spaces around ", 'a "b"']
)
async def test_an_option_arrives_in_tor_as_it_is(short_folder, contact):
    options = [*OFFLINE, ("ContactInfo", contact)]
    async with (
        TorProcess(options, short_folder, "mine") as tor,
        await tor.controller() as controller,
    ):
        assert await controller.get_conf("ContactInfo") == [contact]


@pytest.mark.parametrize("option", ["A 1\nB 2", ("A", "1\0"), ("A\n", "1")])
async def test_an_option_cannot_become_two(short_folder, option):
    with pytest.raises(UsageError):
        TorProcess([option], short_folder, "mine")


async def test_a_refused_configuration_is_told_in_tor_s_words(short_folder):
    tor = TorProcess([("Nonsense", "1")], short_folder, "mine")
    with pytest.raises(TorError, match=r"tor mine exited with status 1.*Unknown option 'Nonsense'"):
        await tor.start()


async def test_a_tor_that_fails_inside_is_told_without_its_stack(short_folder):
    program = fake_program(
        short_folder,
        """
        import os
        os.write(1, b"Oct 01 00:00:00.000 [err] tor_assertion_failed_(): Bug: a.c:1: f: no.\\n")
        os.write(1, b"Oct 01 00:00:00.000 [err] Bug:     tor(_start+0x21)\\n" * 20)
        os.abort()
        """,
    )
    tor = TorProcess(OFFLINE, short_folder / "tor", "mine", program=program)
    with pytest.raises(TorError, match=r"tor mine was killed by signal 6: tor_assertion_failed_"):
        await tor.start()


async def test_a_tor_that_dies_is_noticed_and_named(offline_tor):
    waiting = asyncio.ensure_future(offline_tor.bootstrapped())
    await asyncio.sleep(0.1)
    os.kill(offline_tor.pid, signal.SIGKILL)
    with pytest.raises(TorError, match="tor offline was killed by signal 9: "):
        await waiting
    assert await offline_tor.exited == -signal.SIGKILL


async def test_the_first_step_of_bootstrapping_is_told_at_once(offline_tor):
    steps = []
    waiting = asyncio.ensure_future(offline_tor.bootstrapped(lambda *step: steps.append(step)))
    while not steps:
        await asyncio.sleep(0.01)
    waiting.cancel()
    assert steps == [(0, "Starting")]


async def test_two_tors_cannot_have_one_folder(offline_tor):
    second = TorProcess(OFFLINE, offline_tor.data_directory, "second")
    with pytest.raises(TorError, match="another tor is running"):
        await second.start()
    async with await offline_tor.controller() as controller:
        await controller.get_info("version")


async def test_a_tor_is_started_once(offline_tor):
    with pytest.raises(UsageError):
        await offline_tor.start()


async def test_a_missing_program_is_told_with_what_to_do(short_folder):
    with pytest.raises(HostError, match="apt-get install tor"):
        await TorProcess(OFFLINE, short_folder, "mine", program="no-such-tor").start()


async def test_a_folder_too_deep_for_a_socket_is_told_before_tor_fails(short_folder):
    with pytest.raises(HostError, match="too long"):
        await TorProcess(OFFLINE, short_folder / ("x" * 100), "mine").start()


async def test_a_folder_that_cannot_be_used_is_told(short_folder):
    (short_folder / "file").write_text("")
    with pytest.raises(HostError):
        await TorProcess(OFFLINE, short_folder / "file", "mine").start()


async def test_a_tor_that_does_not_listen_to_signals_is_killed(short_folder, monkeypatch):
    monkeypatch.setattr(process_module, "_STEP", 0.2)
    program = fake_program(
        short_folder,
        """
        import signal, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(600)
        """,
    )
    tor = TorProcess(OFFLINE, short_folder / "tor", "mine", program=program)
    starting = asyncio.ensure_future(tor.start())
    while tor.tail != ["deaf"]:
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await tor.exited == -signal.SIGKILL


async def test_a_tor_that_talks_without_end_neither_blocks_nor_fills_memory(short_folder):
    program = fake_program(
        short_folder,
        """
        import os
        for k in range(2000):
            os.write(1, b"line %d\\n" % k)
        for _ in range(200):
            os.write(2, b"x" * 50_000)
        os.write(1, b"\\nOct 01 00:00:00.000 [err] the last words\\n")
        os._exit(3)
        """,
    )
    tor = TorProcess(OFFLINE, short_folder / "tor", "mine", program=program)
    with pytest.raises(TorError, match="exited with status 3: the last words$"):
        await tor.start()
    assert sum(map(len, tor.tail)) <= 200 * 1000


async def test_an_owned_tor_ends_when_its_owner_is_killed(short_folder):
    owner = f"""
        import asyncio
        from pathlib import Path
        from bento.tor.process import TorProcess

        async def main():
            tor = TorProcess({OFFLINE!r}, Path({str(short_folder / "tor")!r}), "owned")
            await tor.start()
            print(tor.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(owner)], stdout=subprocess.PIPE, text=True
    )
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert alive(pid)
    async with asyncio.timeout(120):  # a hang guard: tor looks every 15 s
        while alive(pid):
            await asyncio.sleep(0.1)
