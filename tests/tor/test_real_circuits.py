"""Circuits and streams through a real network of real tors."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest
from tests.tor.conftest import WEB_HOST

from bento.errors import TorError
from bento.tor.circuits import CircuitManager
from bento.tor.onion_service import OnionKey, add_onion

pytestmark = pytest.mark.network

PROXY_HOST = "127.91.254.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def manager(client, tor_network):
    async with CircuitManager(client, tor_network.socks) as manager:
        yield manager


async def test_a_circuit_ends_at_the_chosen_relay_and_carries_early_bytes(
    manager, tor_network, client, web
):
    port = await web(echo)
    for box in tor_network.boxes:
        circuit = await manager.build(box)
        status = (await client.get_info("circuit-status"))["circuit-status"]
        (line,) = [line for line in status.split("\n") if line.startswith(f"{circuit.id} ")]
        hops = [hop[1:41] for hop in line.split()[2].split(",")]
        assert hops == list(circuit.path)
        assert hops[-1] == box
        reader, writer = await circuit.open_stream(WEB_HOST, port, b"early")
        assert await reader.readexactly(5) == b"early"
        writer.close()


async def test_many_streams_on_many_circuits_at_once(manager, tor_network, web):
    port = await web(echo)
    circuits = await asyncio.gather(*(manager.build(box) for box in tor_network.boxes * 2))

    async def ask(number: int) -> None:
        early = b"%06d" % number
        reader, writer = await circuits[number % len(circuits)].open_stream(WEB_HOST, port, early)
        assert await reader.readexactly(6) == early
        writer.close()

    await asyncio.gather(*(ask(number) for number in range(60)))


async def test_tor_finds_nothing_to_complain_about(joined_tor, tor_network, web):
    """Streams of one circuit must look alike to tor, or it reports a bug of its own."""
    port = await web(echo)
    async with await joined_tor.controller() as controller:
        socks = f"unix:{joined_tor.data_directory / 'socks'}"
        async with CircuitManager(controller, socks) as manager:
            circuit = await manager.build(tor_network.boxes[0])
            for _ in range(3):
                _, writer = await circuit.open_stream(WEB_HOST, port, b"x")
                writer.close()
    assert not [line for line in joined_tor.tail if "Bug" in line]


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [("10.0.0.1", 80, "exit policy"), (WEB_HOST, 1, "nothing may be listening")],
)
async def test_a_refused_stream_fails_with_the_reason_and_the_circuit_lives(
    manager, tor_network, web, host, port, reason
):
    circuit = await manager.build(tor_network.boxes[0])
    with pytest.raises(TorError, match=reason):
        await circuit.open_stream(host, port, b"x")
    reader, writer = await circuit.open_stream(WEB_HOST, await web(echo), b"still")
    assert await reader.readexactly(5) == b"still"
    writer.close()


async def test_a_cut_circuit_fails_what_waits_on_it(manager, tor_network, client):
    circuit = await manager.build(tor_network.boxes[0])
    # A queue that is full: whoever connects now gets no answer.
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((WEB_HOST, 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        opening = asyncio.ensure_future(
            circuit.open_stream(WEB_HOST, listener.getsockname()[1], b"x")
        )
        await asyncio.sleep(0.5)
        assert not opening.done()
        await client.command(f"CLOSECIRCUIT {circuit.id}")
        with pytest.raises(TorError, match="closed on request"):
            await opening
    assert "closed on request" in str(await circuit.closed)


async def test_a_killed_tor_ends_circuits_and_streams(joined_tor, tor_network, web):
    controller = await joined_tor.controller()
    manager = CircuitManager(controller, f"unix:{joined_tor.data_directory / 'socks'}")
    circuit = await manager.build(tor_network.boxes[0])
    reader, writer = await circuit.open_stream(WEB_HOST, await web(echo), b"x")
    assert await reader.readexactly(1) == b"x"
    os.kill(joined_tor.pid, signal.SIGKILL)
    assert isinstance(await circuit.closed, TorError)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    with pytest.raises(TorError):
        await manager.build(tor_network.boxes[0])
    await manager.close()


async def test_an_unknown_relay_is_refused_at_once(manager):
    with pytest.raises(TorError, match="not running"):
        await manager.build("F" * 40)


async def test_two_processes_share_one_tor(manager, tor_network, web):
    port = await web(echo)
    rounds = 15
    script = f"""
        import asyncio
        from bento.tor import CircuitManager, Controller

        async def main():
            async with await Controller.connect({tor_network.control!r}) as controller:
                await controller.authenticate()
                async with CircuitManager(controller, {tor_network.socks!r}) as manager:
                    for number in range({rounds}):
                        circuit = await manager.build({tor_network.boxes[1]!r})
                        reader, writer = await circuit.open_stream({WEB_HOST!r}, {port}, b"other")
                        assert await reader.readexactly(5) == b"other"
                        writer.close()

        asyncio.run(main())
    """
    other = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        while other.poll() is None:
            circuit = await manager.build(tor_network.boxes[0])
            reader, writer = await circuit.open_stream(WEB_HOST, port, b"one")
            assert await reader.readexactly(3) == b"one"
            writer.close()
            await circuit.close()
    finally:
        other.kill()
        other.wait()
    assert other.returncode == 0


async def test_an_onion_service_is_found_through_a_tor_that_leaves_streams_to_us(
    manager, client, tor_network, web
):
    key = OnionKey.generate()
    target = f"{WEB_HOST}:{await web(echo)}"
    await manager.build(tor_network.boxes[0])  # from here on, tor attaches nothing by itself
    service = await add_onion(client, key, 80, target, non_anonymous=False)
    await service.published()
    reader, writer = await manager.open_stream(f"{service.address}.onion", 80, b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await service.remove()


async def test_an_onion_service_that_does_not_exist_is_an_error(manager):
    with pytest.raises(TorError, match="cannot be found"):
        await manager.open_stream(f"{OnionKey.generate().address}.onion", 80)


class OneWayProxy:
    """A SOCKS5 proxy between a tor and its guards; while `back` is clear, nothing comes back."""

    def __init__(self) -> None:
        self.back = asyncio.Event()
        self.back.set()
        self._pumps: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        request = await reader.readexactly(10)
        host, port = ".".join(map(str, request[4:8])), int.from_bytes(request[8:], "big")
        far_reader, far_writer = await asyncio.open_connection(host, port)
        writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        self._pumps.append(asyncio.create_task(self._pump(reader, far_writer, None)))
        self._pumps.append(asyncio.create_task(self._pump(far_reader, writer, self.back)))

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        try:
            while data := await source.read(65536):
                if gate is not None:
                    await gate.wait()
                target.write(data)
        except ConnectionError:
            pass
        finally:
            target.close()

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


async def test_early_bytes_arrive_before_anything_came_back(join, tor_network, web):
    """The round trip that is saved: the far end has the bytes although tor has heard nothing."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(await reader.read(100))
        writer.close()

    port = await web(receive)
    proxy = OneWayProxy()
    server = await asyncio.start_server(proxy.serve, PROXY_HOST, 0)
    tor = await join(("Socks5Proxy", f"{PROXY_HOST}:{server.sockets[0].getsockname()[1]}"))
    async with (
        await tor.controller() as controller,
        CircuitManager(controller, f"unix:{tor.data_directory / 'socks'}") as manager,
    ):
        circuit = await manager.build(tor_network.boxes[0])
        proxy.back.clear()
        opening = asyncio.ensure_future(circuit.open_stream(WEB_HOST, port, b"early"))
        async with asyncio.timeout(60):  # a hang guard
            assert await arrived.get() == b"early"
        assert not opening.done()
        proxy.back.set()
        _, writer = await opening
        writer.close()
    await tor.stop()
    server.close()
    await proxy.close()
