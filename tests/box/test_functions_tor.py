"""The functions' tor that bentod runs by itself: there for functions, back when it died, gone with bentod."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import textwrap
from pathlib import Path

import pytest
from tests.crash.process_box import process_box
from tests.local_box import local_box
from tests.waiting import until

from bento.box.config import CircuitEntrance, Config, Entrance, Tor
from bento.box.functions_tor import FunctionsTor
from bento.errors import PolicyError
from bento.tor.controller import Controller
from bento.tor.process import TorProcess

OFFLINE = {"functions_torrc": ("DisableNetwork 1",), "allow": ("events", "streams", "circuits")}

VERSION = """
def main(api):
    for _ in api:
        try:
            api.send(str(api.stem().get_version()).split()[0] + " ")
        except Exception as error:
            api.send(type(error).__name__ + " ")
"""


def function(body: str, *manifest: str) -> bytes:
    lines = ['memory = "128 MiB"', *manifest]
    head = ["# /// bento", *(f"# {line}" for line in lines), "# ///"]
    return "\n".join([*head, textwrap.dedent(body)]).encode()


ASK_SOCKS = function(
    """
    import socket
    def main(api, host: str):
        sock = socket.create_connection(("127.0.0.1", 9050), 10)
        name = bytes([len(host)]) + host.encode()
        sock.sendall(b"\\x05\\x01\\x00\\x05\\x01\\x00\\x03" + name + b"\\x00\\x50")
        while data := sock.recv(1000):
            api.send(data)
    """,
    'tor = ["streams"]',
)


async def next_word(session) -> str:
    async for piece in session:
        return piece.decode().strip()
    raise AssertionError("the function ended")


@pytest.fixture
async def box():
    async with local_box(tor=OFFLINE) as local:
        yield local


async def test_bentod_runs_the_functions_tor_itself_and_it_ends_with_it():
    async with local_box(tor=OFFLINE) as local:
        pid = local.functions._process.pid
        instance, session = await local.box.run(function(VERSION, 'tor = ["events"]'))
        await session.send(b"x")
        assert (await next_word(session)).startswith("0.4.")
        await session.close_input()
        await session.read()
        await instance.shutdown()
    assert not os.path.exists(f"/proc/{pid}")


async def test_a_dead_functions_tor_comes_back_and_functions_go_on(box):
    instance, session = await box.box.run(function(VERSION, 'tor = ["events"]'))
    await session.send(b"x")
    await next_word(session)
    before = box.functions._process.pid
    os.kill(before, signal.SIGKILL)
    await until(lambda: not box.functions.working)
    await until(lambda: box.functions.working)
    assert box.functions._process.pid != before
    word = ""
    async with asyncio.timeout(120):
        while not word.startswith("0.4."):  # its old connection has ended, the next is a new one
            await session.send(b"x")
            word = await next_word(session)
    await session.close_input()
    await session.read()
    await instance.shutdown()


async def test_the_tor_of_a_killed_bentod_is_ended_at_once():
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        run, state = Path(folder, "run"), Path(folder, "state")
        run.mkdir(mode=0o700)
        left = TorProcess(
            [*OFFLINE["functions_torrc"], f"SocksPort unix:{run}/functions.socks"],
            *(state / "functions-tor", "of a killed bentod"),
            owned=False,
            control_socket=run / "functions.control",
        )
        await left.start()
        entrance = Entrance(circuit=CircuitEntrance())
        functions = FunctionsTor(Config("x", state, run, Tor("unix:/nowhere", **OFFLINE), entrance))
        await functions.start()
        await until(left.exited.done)
        assert functions.working and functions._process.pid != left.pid
        await functions.close()
        await left.stop()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_functions_way_to_tor_is_made_again_after_bentod_was(end):
    lines = 'functions_torrc = ["DisableNetwork 1"]\nallow = ["events"]\n[entrance.onion]'
    source = function("def main(api): return str(api.stem().get_version())", 'tor = ["events"]')
    async with process_box() as box:
        box.config.write_text(box.config.read_text().replace("[entrance.onion]", lines))
        await box.start()
        instance = await box.box.install(source)
        for again in (True, False):
            session = await instance.invoke()
            await session.close_input()
            assert (await session.read()).startswith(b"0.4.")
            if again:
                await box.end(end)
                await box.start()
        await instance.shutdown()


async def test_what_goes_through_tor_is_bounded_by_the_egress_list_as_well(box):
    instance, session = await box.box.run(ASK_SOCKS, "example.com")
    assert b'"example.com:80" in its egress list' in await session.read()
    await instance.shutdown()


async def test_the_boxes_own_relay_is_excluded_also_after_tor_came_back(box):
    async def excluded() -> str:
        async with await Controller.connect(box.functions._control) as tor:
            await tor.authenticate()
            return (await tor.command("GETCONF ExcludeNodes")).text

    box.functions.exclude("AB" * 20)
    await asyncio.gather(*box.functions._tasks - {_keeper(box)})
    assert "$" + "AB" * 20 in await excluded()
    os.kill(box.functions._process.pid, signal.SIGKILL)
    await until(lambda: not box.functions.working)
    await until(lambda: box.functions.working)
    assert "$" + "AB" * 20 in await excluded()


def _keeper(box):
    return next(task for task in box.functions._tasks if "_keep" in repr(task.get_coro()))


async def test_streams_through_tor_need_their_permission_and_say_so(box):
    source = ASK_SOCKS.replace(b'"streams"', b'"events"')
    instance, session = await box.box.run(source, "example.com")
    assert b'tor = ["streams"]' in await session.read()
    await instance.shutdown()


async def test_a_flood_of_control_connections_waits_in_its_own_queue(box):
    source = function(
        """
        import socket, time
        def main(api):
            began, answered = time.monotonic(), 0
            while time.monotonic() - began < 1.5:
                sock = socket.create_connection(("127.0.0.1", 9051), 5)
                sock.settimeout(0.2)
                try:
                    sock.sendall(b"QUIT\\r\\n")
                    answered += sock.recv(100) is not None
                except OSError:
                    pass
                sock.close()
            api.send(f"{answered} {time.monotonic() - began}")
        """,
        'tor = ["events"]',
    )
    instance, session = await box.box.run(source)
    answered, seconds = map(float, (await session.read()).split())
    assert 1 <= answered <= 20 + 2 * seconds + 16
    await instance.shutdown()


async def test_a_function_without_a_tor_line_has_no_way_to_tor(box):
    source = function(
        """
        import socket
        def main(api):
            try: api.stem()
            except Exception as error: api.send(str(error))
            for port in (9050, 9051):
                try: socket.create_connection(("127.0.0.1", port), 5)
                except ConnectionRefusedError: api.send(" closed")
        """
    )
    instance, session = await box.box.run(source)
    said = (await session.read()).decode()
    assert "tor = " in said and said.endswith(" closed closed")
    await instance.shutdown()


async def test_more_of_tor_than_the_policy_offers_is_refused_item_by_item(box):
    source = function("def main(api): pass", 'tor = ["circuits=9", "streams", "onion-services"]')
    with pytest.raises(PolicyError) as caught:
        await box.box.run(source)
    assert "circuits=9" in caught.value.detail and "onion-services=1" in caught.value.detail
    assert "'streams=32'" not in caught.value.detail
