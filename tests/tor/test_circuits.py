"""Circuits and their streams, on a client tor that misbehaves in every way we know."""

from __future__ import annotations

import asyncio

import pytest
from tests.tor.fake_client import fingerprint

from bento.errors import TorError
from bento.tor import circuits as circuits_module
from bento.tor import streams as streams_module
from bento.tor.circuits import CircuitManager
from bento.tor.controller import CommandRefused, Controller

BOX = fingerprint("box")
FAILED = "FAILED REASON=CONNECTFAILED"
FAILED_BEYOND = "FAILED $AA REASON=DESTROYED REMOTE_REASON=RESOURCELIMIT"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(circuits_module, "_REFUSED_PAUSE", 0)
    monkeypatch.setattr(streams_module, "_LOCAL_WAIT", 0.2)


@pytest.fixture
async def controller(fake_client):
    async with await Controller.connect(fake_client.address) as controller:
        yield controller


@pytest.fixture
async def manager(fake_client, controller):
    async with CircuitManager(controller, fake_client.socks) as manager:
        yield manager


def guards_tried(fake_client) -> list[str]:
    paths = [line.split()[2] for line in fake_client.asked_for("EXTENDCIRCUIT")]
    return [bytes.fromhex(path[1:41]).decode().rstrip("\0") for path in paths]


def middles_tried(fake_client) -> list[str]:
    return [line.split(",")[1] for line in fake_client.asked_for("EXTENDCIRCUIT")]


# -- building --------------------------------------------------------------------------------------


async def test_a_circuit_ends_at_the_box(manager):
    circuit = await manager.build(BOX)
    assert circuit.path[-1] == BOX
    assert len(set(circuit.path)) == 3
    assert not circuit.closed.done()


async def test_a_failed_circuit_is_tried_again_with_another_middle(manager, fake_client):
    fake_client.circuits = [FAILED_BEYOND, FAILED_BEYOND]
    await manager.build(BOX)
    assert len(set(middles_tried(fake_client))) == 3
    assert set(guards_tried(fake_client)) == {"guard"}


async def test_a_guard_that_was_not_reached_is_left_for_the_next(manager, fake_client):
    fake_client.circuits = [FAILED]
    await manager.build(BOX)
    assert guards_tried(fake_client) == ["guard", "spare"]


async def test_a_box_that_kills_circuits_does_not_see_another_guard(manager, fake_client):
    fake_client.circuits = [FAILED_BEYOND] * 10
    with pytest.raises(TorError, match="has no room for it"):
        await manager.build(BOX)
    assert guards_tried(fake_client) == ["guard"] * circuits_module.ATTEMPTS


async def test_a_refusal_of_tor_is_tried_again_and_then_told(manager, fake_client):
    fake_client.circuits = ['552 No such router "x"']
    await manager.build(BOX)
    fake_client.circuits = ['552 No such router "x"'] * 10
    with pytest.raises(CommandRefused, match="No such router"):
        await manager.build(BOX)


async def test_a_cancelled_build_leaves_no_circuit(manager, fake_client):
    fake_client.circuits = [""]
    building = asyncio.ensure_future(manager.build(BOX))
    await fake_client.asked("EXTENDCIRCUIT")
    await asyncio.sleep(0.05)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert await fake_client.asked("CLOSECIRCUIT")


async def test_a_build_cancelled_before_tor_has_answered_leaves_no_circuit(manager, fake_client):
    fake_client.answers["EXTENDCIRCUIT"] = ""
    building = asyncio.ensure_future(manager.build(BOX))
    await fake_client.asked("EXTENDCIRCUIT")
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    fake_client.say("250 EXTENDED 77\r\n650 CIRC 77 BUILT $AA")
    assert await fake_client.asked("CLOSECIRCUIT") == "CLOSECIRCUIT 77"


async def test_an_answer_that_is_no_circuit_ends_the_connection(manager, fake_client, controller):
    fake_client.answers["EXTENDCIRCUIT"] = "250 OK"
    with pytest.raises(TorError):
        await manager.build(BOX)
    assert await controller.closed


# -- the end of circuits -----------------------------------------------------------------------------


async def test_a_circuit_that_ends_says_why(manager, fake_client):
    circuit = await manager.build(BOX)
    fake_client.say(f"650 CIRC {circuit.id} CLOSED $AA REASON=DESTROYED REMOTE_REASON=HIBERNATING")
    assert "hibernating" in str(await circuit.closed)
    with pytest.raises(TorError, match="hibernating"):
        await circuit.open_stream("any.host", 80)


async def test_a_circuit_that_ends_in_the_moment_it_is_built_is_tried_again(manager, fake_client):
    fake_client.circuits = ["BUILT {path}\r\n650 CIRC 1 CLOSED $AA REASON=FINISHED"]
    circuit = await manager.build(BOX)
    assert circuit.id != "1"
    assert not circuit.closed.done()


async def test_pending_streams_end_with_their_circuit_and_no_other(manager, fake_client):
    dying, living = await manager.build(BOX), await manager.build(BOX)
    opening = [
        asyncio.ensure_future(circuit.open_stream("silent.host", 80))
        for circuit in (dying, dying, living)
    ]
    for _ in opening:
        await fake_client.asked("ATTACHSTREAM")
    fake_client.say(f"650 CIRC {dying.id} CLOSED $AA REASON=CHANNEL_CLOSED")
    for stream in opening[:2]:
        with pytest.raises(TorError, match="connection to the first relay broke"):
            await stream
    assert not opening[2].done()
    opening[2].cancel()


async def test_a_closed_circuit_is_closed_in_tor_and_without_a_reason(manager, fake_client):
    circuit = await manager.build(BOX)
    await circuit.close()
    await circuit.close()
    assert await circuit.closed is None
    assert fake_client.asked_for("CLOSECIRCUIT") == [f"CLOSECIRCUIT {circuit.id}"]
    with pytest.raises(TorError, match="closed"):
        await circuit.open_stream("any.host", 80)


async def test_closing_the_manager_closes_its_circuits_and_nothing_can_be_built(
    manager, fake_client
):
    circuits = [await manager.build(BOX) for _ in range(3)]
    await manager.close()
    assert all(circuit.closed.done() for circuit in circuits)
    assert len(fake_client.asked_for("CLOSECIRCUIT")) == 3
    with pytest.raises(TorError, match="closed"):
        await manager.build(BOX)


async def test_all_ends_when_tor_goes_away(manager, fake_client):
    circuit = await manager.build(BOX)
    opening = asyncio.ensure_future(circuit.open_stream("silent.host", 80))
    await fake_client.asked("ATTACHSTREAM")
    fake_client.circuits = [""]
    building = asyncio.ensure_future(manager.build(BOX))
    await fake_client.asked("EXTENDCIRCUIT 0")
    await fake_client.asked("EXTENDCIRCUIT 0")
    fake_client.hang_up()
    for waiting in (opening, building):
        with pytest.raises(TorError):
            await waiting
    assert isinstance(await circuit.closed, TorError)


# -- streams -----------------------------------------------------------------------------------------


async def test_streams_go_to_their_own_circuits(manager):
    circuits = [await manager.build(BOX) for _ in range(3)]

    async def ask(circuit) -> bool:
        reader, writer = await circuit.open_stream("any.host", 80)
        user, number = (await reader.readline()).split()
        writer.close()
        return number.decode() == circuit.id and user.startswith(b"bento-")

    assert all(await asyncio.gather(*(ask(circuit) for circuit in circuits * 10)))


async def test_streams_of_one_circuit_share_one_user_and_no_other_does(manager):
    users = []
    for circuit in (await manager.build(BOX), await manager.build(BOX)):
        for _ in range(2):
            reader, writer = await circuit.open_stream("any.host", 80)
            users.append((await reader.readline()).split()[0])
            writer.close()
    assert users[0] == users[1] != users[2] == users[3]


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("refused.host", "exit policy does not allow"),
        ("failed.host", "nothing listens"),
        ("cannot.attach", "could not use the circuit"),
    ],
)
async def test_a_stream_that_fails_says_why(manager, host, reason):
    circuit = await manager.build(BOX)
    with pytest.raises(TorError, match=reason):
        await circuit.open_stream(host, 80)


async def test_each_failure_reaches_the_one_who_asked(manager):
    circuit = await manager.build(BOX)
    hosts = ["any.host", "refused.host", "failed.host", "cannot.attach"] * 5
    results = await asyncio.gather(
        *(circuit.open_stream(host, 80) for host in hosts), return_exceptions=True
    )
    reasons = {
        host: {result.detail for asked, result in zip(hosts, results, strict=True) if asked == host}
        for host in hosts[1:4]
    }
    assert all(len(reason) == 1 for reason in reasons.values())
    assert len(set.union(*reasons.values())) == 3
    for reader, writer in results[::4]:
        assert await reader.readline()
        writer.close()


async def test_a_detached_stream_is_closed_in_tor(manager, fake_client):
    circuit = await manager.build(BOX)
    with pytest.raises(TorError):
        await circuit.open_stream("refused.host", 80)
    (stream,) = fake_client.streams
    assert fake_client.asked_for("CLOSESTREAM") == [f"CLOSESTREAM {stream} 1"]


async def test_the_streams_of_others_are_not_touched(manager, fake_client, controller):
    await manager.build(BOX)
    for words in ('SOCKS_USERNAME="somebody"', "PURPOSE=DIR_FETCH", 'SOCKS_USERNAME="bento-1"'):
        fake_client.say(f"650 STREAM 900 NEW 0 any.host:80 {words}")
        fake_client.say(f"650 STREAM 900 DETACHED 0 any.host:80 {words}")
    await controller.command("GETINFO ns/all")
    assert not fake_client.asked_for("ATTACHSTREAM")
    assert not fake_client.asked_for("CLOSESTREAM")


async def test_two_managers_on_one_tor_do_not_take_each_other_s_streams(fake_client):
    async with (
        await Controller.connect(fake_client.address) as first,
        await Controller.connect(fake_client.address) as second,
        CircuitManager(first, fake_client.socks) as one,
        CircuitManager(second, fake_client.socks) as other,
    ):
        for circuit in (await one.build(BOX), await other.build(BOX)):
            reader, writer = await circuit.open_stream("any.host", 80)
            assert (await reader.readline()).split()[1].decode() == circuit.id
            writer.close()
    assert len(fake_client.asked_for("ATTACHSTREAM")) == 2


async def test_a_stream_given_up_before_tor_named_it_is_not_taken_for_the_next(
    manager, fake_client
):
    circuit = await manager.build(BOX)
    fake_client.hold_new.clear()
    given_up = asyncio.ensure_future(circuit.open_stream("refused.host", 80))
    await asyncio.sleep(0.05)
    given_up.cancel()
    following = asyncio.ensure_future(circuit.open_stream("any.host", 80))
    await asyncio.sleep(0.05)
    fake_client.hold_new.set()
    reader, writer = await following
    assert await reader.readline()
    writer.close()
    assert given_up.cancelled()


async def test_a_socks_port_that_is_gone_is_an_error(manager, fake_client):
    circuit = await manager.build(BOX)
    fake_client._socks_server.close()
    with pytest.raises(TorError, match="SOCKS"):
        await circuit.open_stream("any.host", 80)


# -- streams on tor's own circuits -------------------------------------------------------------------


async def test_a_stream_may_leave_the_choice_to_tor(manager, fake_client):
    reader, writer = await manager.open_stream("some.onion", 80, isolation="a")
    user, circuit = (await reader.readline()).split()
    assert circuit == b"0"
    writer.close()
    reader, writer = await manager.open_stream("some.onion", 80, isolation="b")
    assert (await reader.readline()).split()[0] != user
    writer.close()
    reader, writer = await manager.open_stream("some.onion", 80, isolation="a")
    assert (await reader.readline()).split()[0] == user
    writer.close()


async def test_such_a_stream_is_tried_a_bounded_number_of_times(manager, fake_client):
    with pytest.raises(TorError):
        await manager.open_stream("refused.host", 80)
    assert len(fake_client.asked_for("ATTACHSTREAM")) == 3
    assert len(fake_client.asked_for("CLOSESTREAM")) == 1
