"""The I/O: slow readers, floods, deaths of either side, log-in. Against a scripted control port."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from tests.firewall.fake_tor import FakeTor
from tests.firewall.kit import KEY, RELAYS, SETTINGS, STRANGER, settings
from tests.waiting import until

from bento.errors import TorError
from bento.firewall import Firewall, Report, limits, proxy
from bento.firewall.link import open_link

PATH = ",".join(RELAYS[:3])
COOKIE = bytes(range(32))


def builds_circuits(line: str) -> bytes | None:
    return b"250 EXTENDED 5\r\n" if line.startswith("EXTENDCIRCUIT") else b"250 OK\r\n"


class Guest:
    """A function's end of its control socket."""

    def __init__(self, firewall: Firewall, chosen=SETTINGS) -> None:
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        self._mine = mine
        self.serving = asyncio.create_task(firewall.serve(theirs, chosen))

    async def __aenter__(self) -> Guest:
        self.reader, self.writer = await asyncio.open_connection(sock=self._mine, limit=2**26)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await asyncio.wait((self.serving,))

    async def ask(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return (await self.reader.readline()).decode().strip()

    async def hang_up(self) -> Report:
        self.writer.close()
        return await self.serving


async def opened(tor: FakeTor) -> Firewall:
    return await Firewall.open(f"unix:{tor.path}")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "control")


async def test_the_keeper_takes_over_and_gives_back(path):
    async with FakeTor(path) as tor:
        firewall = await opened(tor)
        assert tor.lines[-2:] == ["SETEVENTS STREAM", "SETCONF __LeaveStreamsUnattached=1"]
        tor.writers[0].write(b"650 STREAM 4 CONTROLLER_WAIT 0 a:80\r\n")
        await until(lambda: tor.lines[-1] == "ATTACHSTREAM 4 0")
        await firewall.close()
        await until(lambda: tor.lines[-1] == "SETCONF __LeaveStreamsUnattached=0")
        assert firewall.closed.result() is None


async def test_a_function_has_one_control_connection_and_it_ends_with_it(path):
    async with FakeTor(path, builds_circuits) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            assert await guest.ask("AUTHENTICATE") == "250 OK"
            assert await guest.ask(f"EXTENDCIRCUIT 0 {PATH}") == "250 EXTENDED 5"
            async with Guest(firewall) as second:
                assert (await second.reader.read()).startswith(b"510 ")
            async with Guest(firewall, settings(isolation_key=STRANGER)) as other:
                assert await other.ask("AUTHENTICATE") == "250 OK"
            report = await guest.hang_up()
        assert "CLOSECIRCUIT 5" in tor.lines
        await until(lambda: tor.open_connections == 1)  # the keeper's
        assert report.manifest_line == 'tor = ["circuits=1"]'
        await firewall.close()


async def test_quit_closes_the_functions_side_too(path):
    async with FakeTor(path) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            assert await guest.ask("QUIT") == "250 closing connection"
            assert await guest.reader.read() == b""
        await firewall.close()


async def test_a_cancelled_function_is_cleaned_up(path):
    async with FakeTor(path, builds_circuits) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            await guest.ask(f"EXTENDCIRCUIT 0 {PATH}")
            guest.serving.cancel()
            assert await guest.reader.read() == b""
        assert "CLOSECIRCUIT 5" in tor.lines and guest.serving.cancelled()
        await firewall.close()


async def test_closing_the_firewall_ends_every_function(path):
    async with FakeTor(path, builds_circuits) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            await guest.ask(f"EXTENDCIRCUIT 0 {PATH}")
            await firewall.close()
            assert await guest.reader.read() == b""
        assert "CLOSECIRCUIT 5" in tor.lines


async def test_a_tor_that_never_confirms_does_not_keep_a_dead_function(path, monkeypatch):
    monkeypatch.setattr(limits, "CLEANUP_SECONDS", 0.05)
    monkeypatch.setattr(proxy, "_PARTING_SECONDS", 0.05)

    def silent(line: str) -> bytes | None:
        return None if line.startswith("CLOSECIRCUIT") else builds_circuits(line)

    async with FakeTor(path, silent) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            await guest.ask(f"EXTENDCIRCUIT 0 {PATH}")
            await guest.hang_up()
        # Once on the function's connection, once more on the keeper's.
        await until(lambda: tor.lines.count("CLOSECIRCUIT 5") == 2)
        await firewall.close()


async def test_a_function_whose_connection_to_tor_breaks_is_cleaned_up_by_the_keeper(path):
    async with FakeTor(path, builds_circuits) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            await guest.ask(f"EXTENDCIRCUIT 0 {PATH}")
            tor.writers[1].write(b"garbage\r\n")
            assert await guest.reader.read() == b""
        await until(lambda: "CLOSECIRCUIT 5" in tor.lines)
        await firewall.close()


async def test_a_dead_tor_is_told_to_everybody(path):
    async with FakeTor(path) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            for writer in tor.writers:
                writer.close()
            assert await guest.reader.read() == b""
        assert isinstance(await firewall.closed, TorError)
        await firewall.close()


async def test_a_tor_that_refuses_the_keeper_is_an_error(path):
    def refuses(line: str) -> bytes:
        return b"552 no\r\n" if "SETCONF" in line else b"250 OK\r\n"

    async with FakeTor(path, refuses) as tor:
        with pytest.raises(TorError):
            await opened(tor)


async def test_a_function_that_reads_nothing_loses_events_and_costs_no_more_than_the_limit(path):
    async with FakeTor(path, builds_circuits) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            for line in ("AUTHENTICATE", f"EXTENDCIRCUIT 0 {PATH}", "SETEVENTS CIRC_BW"):
                await guest.ask(line)
            event = b"650 CIRC_BW ID=5 READ=%0400d\r\n" % 1
            for _ in range(40):
                tor.writers[1].write(event * 100)
                await tor.writers[1].drain()
            [connection] = firewall._connections.values()
            await until(lambda: connection._dropped > 0)
            waiting = connection._writer.transport.get_write_buffer_size()
            assert waiting <= limits.MAX_UNREAD + len(event)
            report = await guest.hang_up()
        assert 0 < report.dropped_events < 4000
        await firewall.close()


async def test_a_flood_of_commands_is_held_back_and_answered_in_full(path):
    async with FakeTor(path) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            count = 900
            guest.writer.write(b"GETINFO features/names\r\n" * count)
            answers = b""
            while answers.count(b"250 OK\r\n") < count:
                answers += await guest.reader.read(65536)
            assert answers.count(b"features/names=") == count
        await firewall.close()


async def test_a_function_that_never_reads_its_answers_is_not_read_either(path):
    async with FakeTor(path) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            guest.writer.write(b"GETINFO ns/name/a\r\n" * 200_000)
            [connection] = firewall._connections.values()
            await asyncio.sleep(0.5)
            assert guest.writer.transport.get_write_buffer_size() > 2_000_000
            assert connection._filter._reader.buffered <= 2 * limits.MAX_BACKLOG
            guest.writer.transport.abort()
        await firewall.close()


async def test_large_answers_that_nobody_reads_are_not_asked_of_tor_again(path):
    large = b"250+ns/all=\r\n" + b"x" * 100_000 + b"\r\n.\r\n250 OK\r\n"

    def script(line: str) -> bytes:
        return large if line == "GETINFO ns/all" else b"250 OK\r\n"

    async with FakeTor(path, script) as tor:
        firewall = await opened(tor)
        async with Guest(firewall) as guest:
            await guest.ask("AUTHENTICATE")
            # Not read at all: the stream reader of this end would take 2**26 bytes otherwise.
            guest.reader._transport.pause_reading()
            for _ in range(90):
                guest.writer.write(b"GETINFO ns/all\r\n")
                await asyncio.sleep(0.005)
            [connection] = firewall._connections.values()
            assert connection._writer.transport.get_write_buffer_size() < 2**20
            assert tor.lines.count("GETINFO ns/all") < 20
            guest.writer.transport.abort()
        await firewall.close()


async def test_the_cookie_is_read_and_sent(path, tmp_path):
    cookie = tmp_path / "cookie"
    cookie.write_bytes(COOKIE)
    offer = f'250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE="{cookie}"\r\n250 OK\r\n'.encode()

    def asks(line: str) -> bytes:
        if line.startswith("PROTOCOLINFO"):
            return offer
        return b"250 OK\r\n" if line == "AUTHENTICATE " + COOKIE.hex() else b"515 no\r\n"

    async with FakeTor(path, asks):
        await (await open_link(f"unix:{path}")).close()
        cookie.write_bytes(COOKIE + b"x")
        with pytest.raises(TorError):
            await open_link(f"unix:{path}")
        cookie.write_bytes(COOKIE[::-1])
        with pytest.raises(TorError):
            await open_link(f"unix:{path}")
        cookie.unlink()
        with pytest.raises(TorError):
            await open_link(f"unix:{path}")


@pytest.mark.parametrize("noise", [b"nonsense\r\n", b"250 OK\r\n250 OK\r\n", b"650 BW 1 2\r\n"])
async def test_what_is_no_control_port_is_an_error(path, noise):
    async with FakeTor(path, lambda line: noise):
        with pytest.raises(TorError):
            await open_link(f"unix:{path}")


async def test_nobody_at_the_control_port_is_an_error(path):
    with pytest.raises(TorError):
        await Firewall.open(f"unix:{path}")


def test_the_isolation_key_of_the_tests_is_of_the_real_form():
    assert len(KEY) == 32
