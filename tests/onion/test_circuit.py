"""Circuits and streams as a playbook: relays in memory, no network, every forbidden step refused."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.onion.far import ntor3_answer, ntor_answer

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import cells, keys, linkspec, ntor3, relay
from bento.onion.cells import BODY_BYTES, Cell, CellReader, Command, DestroyReason, RelayRun
from bento.onion.certs import RelayIdentity
from bento.onion.circuit import MAX_INCOMING_STREAMS, MAX_KEPT_STREAMS, Circuit
from bento.onion.congestion import PathKind, Vegas, VegasParams
from bento.onion.crypto import x25519_public
from bento.onion.errors import CircuitClosed, StreamEnded
from bento.onion.layers import Hop
from bento.onion.linkspec import Target
from bento.onion.relay import Answer, EndReason, RelayCommand, RelayMessage
from bento.onion.stream import XOFF_BYTES, IncomingStream, StreamState
from bento.onion.wire import Reader

CC = VegasParams.from_consensus({}, PathKind.EXIT)
C = RelayCommand


class FakeRelay:
    """Keys of a relay, and its half of the hop once it was made."""

    def __init__(self, number: int) -> None:
        self.identity = RelayIdentity(bytes([number]) * 20, bytes([number]) * 32)
        self.onion = X25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        where = [(ipaddress.ip_address(f"192.0.2.{number}"), 9001)]
        specifiers = linkspec.for_relay(self.identity, where)
        self.target = Target(self.identity, x25519_public(self.onion), specifiers)
        self.end: Hop | None = None
        self.cc_answer: dict[int, bytes] = {ntor3.EXTENSION_CC_RESPONSE: b"\x1f"}

    def answer(self, body: bytes) -> bytes:
        """The reply to what CREATE2 or the tail of EXTEND2 asks."""
        reader = Reader(body, "create")
        kind, skin = reader.uint(2), reader.vector(2)
        if kind == 2:
            reply, made = ntor_answer(self.identity.rsa, self.onion, skin)
        else:
            said = ntor3.pack_extensions(self.cc_answer)
            reply, wish, stream = ntor3_answer(self.identity.ed25519, self.onion, skin, said)
            assert ntor3.parse_extensions(wish) == {ntor3.EXTENSION_CC_REQUEST: b""}
            made = keys.cut(stream, keys.TOR1)
        self.end = Hop(made.reversed())
        return len(reply).to_bytes(2, "big") + reply


class World:
    """The link and the relays behind it. `heard` is what the last relay was told, in order."""

    def __init__(self, relays: int = 3) -> None:
        self.relays = [FakeRelay(n + 1) for n in range(relays)]
        self.built = 0
        self.heard: list[RelayMessage] = []
        self.early = 0
        self.destroyed: int | None = None
        self.blocked = False
        self.silent = False
        self.released: list[int] = []
        self._reader = CellReader()
        self._reader.feed(cells.pack_versions())
        self.circuit = Circuit(self, 0x80000001)

    # CircuitLink

    def send(self, data: bytes, *, patient: bool = False) -> None:
        for cell in self._reader.feed(data):
            if isinstance(cell, RelayRun):
                self._relay(cell.bodies)
            elif cell.command == Command.RELAY_EARLY:
                self.early += 1
                self._relay(cell.body)
            else:
                self._cell(cell)

    def release(self, circuit_id: int) -> None:
        self.released.append(circuit_id)

    async def writable(self) -> None:
        while self.blocked:
            await asyncio.sleep(0)

    # the far side

    def _cell(self, cell: Cell) -> None:
        if cell.command == Command.DESTROY:
            self.destroyed = cell.body[0]
        elif not self.silent:
            assert cell.command == Command.CREATE2
            answer = self.relays[0].answer(cell.body)
            self.built = 1
            asyncio.get_running_loop().call_soon(
                self.circuit.receive_cell, Command.CREATED2, answer.ljust(BODY_BYTES, b"\0")
            )

    def _relay(self, bodies: bytes) -> None:
        for at in range(0, len(bodies), BODY_BYTES):
            body = bodies[at : at + BODY_BYTES]
            for number in range(self.built):
                end = self.relays[number].end
                body = end.decrypt.update(body)
                opened = end.open_one(body)
                if opened is not None:
                    self._told(number, opened[0])
                    break
            else:
                raise AssertionError("a cell that no relay recognizes")

    def _told(self, number: int, message: RelayMessage) -> None:
        if message.command == C.EXTEND2 and not self.silent:
            reader = Reader(message.data, "extend")
            assert linkspec.read(reader) == self.relays[self.built].target.specifiers
            answer = self.relays[self.built].answer(reader.rest())
            asyncio.get_running_loop().call_soon(self._extended, answer)
            return
        assert number == self.built - 1 or message.command == C.DROP
        self.heard.append(message)

    def _extended(self, answer: bytes) -> None:
        self.say(C.EXTENDED2, 0, answer)
        self.built += 1

    def say(self, command: int, stream: int, data: bytes = b"", hop: int | None = None) -> None:
        """The last relay (or another) speaks."""
        self.circuit.receive_run(self.body(command, stream, data, hop))

    def body(self, command: int, stream: int, data: bytes = b"", hop: int | None = None) -> bytes:
        number = self.built - 1 if hop is None else hop
        end = self.relays[number].end
        if command == C.DATA:
            body, _ = end.seal_data(stream, data, 1, 0.0)
        else:
            raw = relay.pack_body(RelayMessage(command, stream, data))
            end.digest_into(raw)
            body = bytes(raw)
        for near in reversed(self.relays[: number + 1]):
            body = near.end.encrypt.update(body)
        return body

    def commands(self) -> list[int]:
        return [m.command for m in self.heard]


async def built(relays: int = 3, congestion: VegasParams | None = None) -> World:
    world = World(relays)
    await world.circuit.build([r.target for r in world.relays], congestion)
    return world


async def opened(world: World):
    stream = world.circuit.begin("example.com", 80)
    world.say(C.CONNECTED, stream.number)
    await stream.connected
    world.heard.clear()
    return stream


# -- building


async def test_three_hops_are_made_and_only_extending_is_early() -> None:
    world = await built()
    assert (world.built, world.early) == (3, 2)
    assert [t.identity for t in world.circuit.path] == [r.identity for r in world.relays]


async def test_congestion_control_is_agreed_with_the_last_hop_only() -> None:
    world = await built(congestion=CC)
    windows = [hop.window for hop in world.circuit._layers.hops]
    assert [isinstance(w, Vegas) for w in windows] == [False, False, True]
    assert windows[2].increment == 31


async def test_a_relay_that_does_not_answer_to_it_gets_fixed_windows() -> None:
    world = World(1)
    world.relays[0].cc_answer = {}
    await world.circuit.build([world.relays[0].target], CC)
    assert not isinstance(world.circuit._layers.hops[0].window, Vegas)


@pytest.mark.parametrize("increment", [b"\x01", b"\xff", b"", b"\x1f\x1f"])
async def test_an_unheard_of_increment_ends_the_circuit(increment: bytes) -> None:
    world = World(1)
    world.relays[0].cc_answer = {ntor3.EXTENSION_CC_RESPONSE: increment}
    with pytest.raises(RemoteProtocolError, match="pace"):
        await world.circuit.build([world.relays[0].target], CC)
    assert world.destroyed == DestroyReason.PROTOCOL


async def test_a_relay_with_another_key_is_refused() -> None:
    world = World(1)
    world.relays[0].onion = X25519PrivateKey.generate()
    wrong = world.relays[0].answer
    world.relays[0].answer = lambda body: wrong(
        body[:24] + x25519_public(world.relays[0].onion) + body[56:]
    )
    with pytest.raises(RemoteProtocolError, match="onion key"):
        await world.circuit.build([world.relays[0].target])
    assert world.destroyed is not None


async def test_a_ninth_early_cell_is_our_own_fault() -> None:
    world = await built(9)
    assert world.early == 8
    with pytest.raises(LocalProtocolError, match="eight"):
        await world.circuit.extend(world.relays[0].target)


async def test_a_silent_relay_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bento.onion.circuit.BUILD_SECONDS", 0.01)
    world = World(1)
    world.silent = True
    with pytest.raises(CircuitClosed) as ended:
        await world.circuit.build([world.relays[0].target])
    assert ended.value.reason == world.destroyed == DestroyReason.TIMEOUT


async def test_destroy_while_building_is_told() -> None:
    world = World(1)
    world.silent = True
    building = asyncio.ensure_future(world.circuit.build([world.relays[0].target]))
    await asyncio.sleep(0)
    world.circuit.receive_cell(Command.DESTROY, bytes([DestroyReason.RESOURCELIMIT]))
    with pytest.raises(CircuitClosed, match="RESOURCELIMIT"):
        await building


# -- what closes a circuit

FORBIDDEN = {
    "an answer nobody asked for": (C.EXTENDED2, 0, b""),
    "DATA without a stream": (C.DATA, 0, b"x"),
    "a circuit SENDME of nothing": (C.SENDME, 0, relay.pack_sendme(bytes(20))),
    "a SENDME that proves nothing": (C.SENDME, 0, b""),
    "TRUNCATED": (C.TRUNCATED, 0, b"\1"),
}


@pytest.mark.parametrize("case", FORBIDDEN)
async def test_a_forbidden_message_closes_the_circuit(case: str) -> None:
    world = await built()
    world.say(*FORBIDDEN[case])
    assert world.circuit.closed.done()
    assert world.destroyed is not None
    assert world.released == [world.circuit.id]


FORBIDDEN_ON_STREAM = {
    "connected twice": (C.CONNECTED, b""),
    "a SENDME of nothing": (C.SENDME, b""),
    "an XOFF on a stream with windows": (C.XOFF, b"\0"),
    "an XON on a stream with windows": (C.XON, b"\0\0\0\0\0"),
    "a BEGIN of its number": (C.BEGIN, b"x:80\0"),
    "a command that names no stream": (C.EXTEND2, b""),
}


@pytest.mark.parametrize("case", FORBIDDEN_ON_STREAM)
async def test_a_forbidden_message_on_a_stream_closes_the_circuit(case: str) -> None:
    world = await built()
    world.circuit.on_begin = lambda incoming: None
    stream = await opened(world)
    command, data = FORBIDDEN_ON_STREAM[case]
    world.say(command, stream.number, data)
    assert world.destroyed == DestroyReason.PROTOCOL
    with pytest.raises(CircuitClosed):
        await stream.read()


async def test_a_hop_on_the_way_may_not_speak_for_a_stream() -> None:
    world = await built()
    stream = await opened(world)
    world.say(C.DATA, stream.number, b"injected", hop=1)
    assert world.destroyed == DestroyReason.PROTOCOL


async def test_a_cell_from_nobody_closes_the_circuit() -> None:
    world = await built()
    world.circuit.receive_run(bytes(BODY_BYTES))
    assert world.destroyed == DestroyReason.PROTOCOL


@pytest.mark.parametrize("command", [Command.RELAY_EARLY, Command.CREATED2])
async def test_an_inbound_early_cell_or_second_creation_closes_the_circuit(command: int) -> None:
    world = await built()
    world.circuit.receive_cell(command, bytes(BODY_BYTES))
    assert world.destroyed == DestroyReason.PROTOCOL


async def test_messages_for_unknown_streams_are_dropped() -> None:
    world = await built()
    for command in (C.DATA, C.END, C.SENDME, C.CONNECTED, C.BEGIN, C.RESOLVED):
        world.say(command, 77, b"x")
    assert not world.circuit.closed.done()


async def test_a_lost_link_is_told_to_everybody() -> None:
    world = await built()
    stream = await opened(world)
    asking = asyncio.ensure_future(world.circuit.request(C.ESTABLISH_INTRO, b"", 38))
    resolving = asyncio.ensure_future(world.circuit.resolve("example.com"))
    await asyncio.sleep(0)
    world.circuit.link_lost("gone")
    for waiting in (asking, resolving, stream.read(), stream.write(b"x")):
        with pytest.raises(CircuitClosed):
            await waiting
    with pytest.raises(CircuitClosed):
        world.circuit.begin("x", 80)
    assert world.circuit.streams == 0


# -- streams


async def test_bytes_flow_both_ways_and_end() -> None:
    world = await built()
    stream = await opened(world)
    await stream.write(b"hello" * 300)
    assert b"".join(m.data for m in world.heard) == b"hello" * 300
    world.say(C.DATA, stream.number, b"one")
    world.say(C.DATA, stream.number, b"two")
    world.say(C.END, stream.number, bytes([EndReason.DONE]))
    assert await stream.read() == b"onetwo"
    assert await stream.read() == b""
    with pytest.raises(StreamEnded):
        await stream.write(b"late")
    stream.close()
    assert stream.state is StreamState.CLOSED
    assert world.circuit.streams == 0


async def test_a_cut_stream_says_so_after_its_last_byte() -> None:
    world = await built()
    stream = await opened(world)
    world.say(C.DATA, stream.number, b"half")
    world.say(C.END, stream.number, bytes([EndReason.CONNRESET]))
    assert await stream.read() == b"half"
    with pytest.raises(StreamEnded, match="CONNRESET"):
        await stream.read()


async def test_a_refused_stream_raises_its_reason() -> None:
    world = await built()
    opening = asyncio.ensure_future(world.circuit.open_stream("example.com", 80))
    await asyncio.sleep(0)
    world.say(C.END, world.heard[0].stream, bytes([EndReason.EXITPOLICY]))
    with pytest.raises(StreamEnded, match="another") as refused:
        await opening
    assert refused.value.reason == EndReason.EXITPOLICY


async def test_a_half_closed_stream_drops_what_comes_and_ends_with_the_other_side() -> None:
    world = await built()
    stream = await opened(world)
    stream.close()
    assert world.commands() == [C.END]
    world.say(C.DATA, stream.number, b"late")
    world.say(C.CONNECTED, stream.number)
    assert not world.circuit.closed.done()
    assert await stream.read() == b""
    world.say(C.END, stream.number, b"\6")
    assert stream.state is StreamState.CLOSED
    assert world.circuit._streams == {}


async def test_even_a_half_closed_stream_has_a_window() -> None:
    world = await built()
    stream = await opened(world)
    stream.close()
    for _ in range(500):
        world.say(C.DATA, stream.number, b"x")
    assert not world.circuit.closed.done()
    world.say(C.DATA, stream.number, b"x")
    assert world.destroyed == DestroyReason.PROTOCOL


async def test_consumed_cells_are_acknowledged_and_unread_ones_are_not() -> None:
    world = await built()
    stream = await opened(world)
    for _ in range(149):
        world.say(C.DATA, stream.number, b"x")
    assert world.commands() == [C.SENDME]  # of the circuit, at its hundredth cell
    assert world.heard[0].stream == 0
    world.heard.clear()
    assert len(await stream.read()) == 149
    assert [(m.command, m.stream) for m in world.heard] == [(C.SENDME, stream.number)] * 2


async def test_a_writer_stops_at_the_streams_window_until_it_is_acknowledged() -> None:
    world = await built()
    stream = await opened(world)
    writing = asyncio.ensure_future(stream.write(bytes(498 * 600)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(world.heard) == 500
    world.say(C.SENDME, stream.number)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(world.heard) == 550
    world.say(C.SENDME, stream.number)
    world.say(C.SENDME, stream.number)
    await writing


async def test_a_blocked_link_stops_writers() -> None:
    world = await built()
    stream = await opened(world)
    world.blocked = True
    writing = asyncio.ensure_future(stream.write(b"x"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.heard == []
    world.blocked = False
    await writing
    assert world.commands() == [C.DATA]


async def test_unread_data_makes_xoff_and_reading_it_xon() -> None:
    world = await built(congestion=CC)
    world.relays[2].end.window.increment = 31
    stream = await opened(world)
    sent = 0
    while sent <= XOFF_BYTES:
        world.say(C.DATA, stream.number, bytes(400))
        sent += 400
    assert C.XOFF in world.commands()
    world.heard.clear()
    assert len(await stream.read()) == sent
    assert world.heard == [RelayMessage(C.XON, stream.number, relay.pack_xon())]


async def test_a_peer_that_does_not_stop_at_xoff_ends_the_circuit(monkeypatch) -> None:
    monkeypatch.setattr("bento.onion.stream.MAX_UNREAD_BYTES", XOFF_BYTES + 2000)
    world = await built(congestion=CC)
    world.relays[2].end.window.increment = 31
    stream = await opened(world)
    for _ in range((XOFF_BYTES + 2000) // 400 + 1):
        assert not world.circuit.closed.done()
        world.say(C.DATA, stream.number, bytes(400))
    assert world.destroyed == DestroyReason.PROTOCOL


async def test_xoff_stops_the_writer_and_xon_lets_it_go_at_its_rate() -> None:
    world = await built(congestion=CC)
    stream = await opened(world)
    world.say(C.XOFF, stream.number, relay.pack_xoff())
    writing = asyncio.ensure_future(stream.write(bytes(2000)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.heard == []
    world.circuit._layers.hops[-1].window.cwnd = 10_000
    world.say(C.XON, stream.number, relay.pack_xon(100))
    await writing
    began = asyncio.get_running_loop().time()
    await stream.write(bytes(128_000))
    assert asyncio.get_running_loop().time() - began >= 0.25
    sizes = [len(m.data) for m in world.heard]
    assert sum(sizes) == 130_000
    assert len(sizes) < 300  # full cells, not one for each few bytes the rate sets free
    world.say(C.XOFF, stream.number, relay.pack_xoff())
    world.say(C.XOFF, stream.number, relay.pack_xoff())
    assert world.destroyed == DestroyReason.PROTOCOL


async def test_names_are_resolved() -> None:
    world = await built()
    asking = asyncio.ensure_future(world.circuit.resolve("example.com"))
    await asyncio.sleep(0)
    (question,) = world.heard
    assert (question.command, question.data) == (C.RESOLVE, b"example.com\0")
    world.say(C.RESOLVED, question.stream, b"\4\4\xc0\0\2\7\0\0\0\x3c")
    assert await asking == [Answer(ipaddress.ip_address("192.0.2.7"), None, 60)]


async def test_drop_cells_go_to_the_hop_they_are_for() -> None:
    world = await built()
    world.circuit.drop(1)
    assert world.commands() == [C.DROP]


# -- incoming streams


async def test_an_onion_service_accepts_and_refuses_streams() -> None:
    world = await built()
    waiting: list[IncomingStream] = []
    world.circuit.on_begin = waiting.append
    world.say(C.BEGIN, 5, b":80\0")
    world.say(C.BEGIN, 6, b":81\0")
    stream = waiting[0].accept()
    waiting[1].refuse()
    with pytest.raises(LocalProtocolError, match="twice"):
        waiting[1].accept()
    assert [(m.command, m.stream) for m in world.heard] == [(C.CONNECTED, 5), (C.END, 6)]
    world.say(C.DATA, 5, b"ping")
    assert await stream.read() == b"ping"
    world.say(C.BEGIN, 6, b":80\0")  # the number of a refused stream may come again
    assert len(waiting) == 3
    assert not world.circuit.closed.done()


async def test_only_the_last_hop_may_begin_streams() -> None:
    world = await built()
    waiting: list[IncomingStream] = []
    world.circuit.on_begin = waiting.append
    world.say(C.BEGIN, 5, b":80\0", hop=0)
    assert waiting == []


async def test_streams_of_one_client_are_bounded() -> None:
    world = await built()
    world.circuit.on_begin = lambda incoming: incoming.accept()
    for number in range(1, MAX_INCOMING_STREAMS + 3):
        world.say(C.BEGIN, number, b":80\0")
    assert world.commands().count(C.CONNECTED) == MAX_INCOMING_STREAMS
    assert world.commands().count(C.END) == 2


async def test_streams_that_a_client_never_ends_are_forgotten_in_the_end() -> None:
    world = await built()
    world.circuit.on_begin = lambda incoming: incoming.refuse()
    for number in range(1, MAX_KEPT_STREAMS + 100):
        world.say(C.BEGIN, number, b":80\0")
    assert len(world.circuit._streams) == MAX_KEPT_STREAMS
    world.say(C.DATA, 1, b"late")
    assert not world.circuit.closed.done()


async def test_a_begin_that_names_nothing_closes_the_circuit() -> None:
    world = await built()
    world.circuit.on_begin = lambda incoming: None
    world.say(C.BEGIN, 5, b"nonsense")
    assert world.destroyed == DestroyReason.PROTOCOL
