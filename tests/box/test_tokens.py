"""What a token allows, and that nothing widens it: at a real door, with real sandboxes."""

import asyncio
import secrets
import time

import pytest
from tests.local_box import local_box
from tests.waiting import until

from bento.client import holders
from bento.client.box import Box, BoxName
from bento.errors import BoxError, HostError, RemoteProtocolError, UsageError
from bento.protocol.capability import Capability
from bento.protocol.caveats import (
    ATTACH,
    INVOKE,
    SHUTDOWN,
    AtBox,
    Bytes,
    Holder,
    NotAfter,
    Only,
    Runs,
    Unknown,
    Uses,
)
from bento.protocol.padding import CALL_CLASS
from bento.protocol.session import Invoke, session_tag
from bento.protocol.ticket import ShutdownTicket, Ticket
from bento.protocol.values import encode_values
from bento.protocol.wire import encode

ECHO = b"""
calls = 0
def main(api, size: int = 0):
    global calls
    calls += 1
    api.send(str(calls))
    api.send(bytes(size))
    for piece in api:
        api.send(piece)
"""


@pytest.fixture
async def installed(local):
    return await local.box.install(ECHO)


def narrowed(instance, *conditions):
    return instance.box.instance(instance.ticket.narrow(*conditions))


async def call(instance, *args):
    session = await instance.invoke(*args)
    await session.close_input()
    return await session.read()


def uses(limit):
    return Uses(secrets.token_bytes(8), limit)


async def open_and_say(local, token, session, *messages):
    pipe = await local.box.open(token, session, b"".join(map(encode, messages)))
    pipe.writer.close()


def invoke(session):
    return Invoke(session, encode_values([[], {}]), False, b"")


async def test_uses_are_counted_for_all_that_was_narrowed_from_one_token(installed):
    three = narrowed(installed, uses(3))
    one = narrowed(three, uses(1))
    assert await call(one) == b"1"
    with pytest.raises(BoxError, match="uses are spent"):
        await call(one)
    assert [await call(three), await call(three)] == [b"2", b"3"]
    with pytest.raises(BoxError, match="uses are spent"):
        await call(three)
    with pytest.raises(BoxError, match="uses are spent"):
        await call(narrowed(three, uses(9)))
    assert await call(installed) == b"4"


async def test_an_open_whose_answer_was_lost_is_not_a_second_use(local, installed):
    one = installed.ticket.narrow(uses(1))
    name = secrets.token_bytes(16)
    for _ in range(3):
        await open_and_say(local, one.token, name)
    for _ in range(2):
        await open_and_say(local, one.token, name, invoke(name))
    session = await local.box.attach(one.session(name, bytes(16)))
    await session.close_input()
    assert await session.read() == b"1"
    with pytest.raises(BoxError, match="uses are spent"):
        await call(local.box.instance(one))


async def test_a_counted_session_does_not_begin_again_under_its_old_name(local, installed):
    one = installed.ticket.narrow(uses(1))
    instance = local.box.instance(one)
    session = await instance.invoke()
    await session.close_input()
    assert await session.read() == b"1"
    await until(lambda: not next(iter(local.instances)).relays)
    name = session.name.session
    pipe = await local.box.open(one.token, name, encode(invoke(name)))
    assert b"fetched to its end already" in await pipe.reader.read()
    assert await call(installed) == b"2"


async def test_a_use_is_for_the_session_it_was_spent_on(local, installed):
    one = installed.ticket.narrow(uses(1))
    paid, other = secrets.token_bytes(16), secrets.token_bytes(16)
    pipe = await local.box.open(one.token, paid, encode(invoke(other)))
    assert b"opened for another session" in await pipe.reader.read()
    assert await call(installed) == b"1"


async def test_a_sessions_line_attaches_and_starts_nothing(local, installed):
    session = await installed.invoke()
    await session.started()
    await session.detach()
    name = secrets.token_bytes(16)
    pipe = await local.box.open(session.name.token, name, encode(invoke(name)))
    assert b"does not allow this" in await pipe.reader.read()
    again = await local.box.attach(session.name)
    await again.close_input()
    assert await again.read() == b"1"


async def test_an_invoking_token_may_be_kept_from_attaching(local, installed):
    narrow = narrowed(installed, Only(INVOKE))
    session = await narrow.invoke()
    await session.started()
    await session.detach()
    with pytest.raises(BoxError, match="does not allow this"):
        await (await local.box.attach(session.name)).read()


async def test_a_token_ends_at_its_time_and_so_do_its_connections(local, installed, monkeypatch):
    end = int(time.time()) + 1000

    def a_second_before_its_end():
        local.ahead = 1000  # the next check comes too late
        return end - 1

    monkeypatch.setattr("bento.box.passage.time", a_second_before_its_end)
    short = narrowed(installed, NotAfter(end))
    session = await short.invoke()
    with pytest.raises(BoxError, match="time is over"):  # it is cut, comes back, and hears why
        await session.read()
    with pytest.raises(BoxError, match="time is over"):
        await call(short)
    assert await call(installed) == b"2"


async def test_no_more_bytes_pass_than_a_token_allows(local, installed):
    running = next(iter(local.instances))
    for limit, size in ((100_000, 90_000), (100_000, 300_000), (5_000_000, 9_000_000)):
        before = running.bytes_in + running.bytes_out
        narrow = narrowed(installed, Bytes(secrets.token_bytes(8), limit))
        if size < limit:
            assert len(await call(narrow, size)) == size + 1
            continue
        with pytest.raises(BoxError, match="broke"):
            await call(narrow, size)
        await until(lambda: not running.relays)
        assert running.bytes_in + running.bytes_out - before == limit
        with pytest.raises(BoxError, match="bytes are used up"):
            await call(narrow)


async def test_bytes_not_used_by_one_session_are_the_next_ones(local, installed):
    narrow = narrowed(installed, Bytes(secrets.token_bytes(8), 130_000))  # padding counts as well
    running = next(iter(local.instances))
    for _ in range(5):
        assert len(await call(narrow, 15_000)) == 15_001
        await until(lambda: not running.relays)
    with pytest.raises(BoxError, match="broke"):
        await call(narrow, 60_000)


async def test_a_request_larger_than_its_allowance_is_refused_and_costs_no_use(local, installed):
    before = next(iter(local.instances)).bytes_in
    narrow = narrowed(installed, uses(1), Bytes(secrets.token_bytes(8), CALL_CLASS))
    with pytest.raises(BoxError, match="bytes are used up"):
        await call(narrow, "x" * CALL_CLASS)
    assert next(iter(local.instances)).bytes_in == before
    await open_and_say(local, narrow.ticket.token, secrets.token_bytes(16))


async def test_only_the_holder_of_a_key_may_use_what_is_bound_to_it(local, installed):
    mine = narrowed(installed, Holder(holders.parse(holders.make())))
    assert await call(mine) == b"1"
    session = await mine.invoke()
    await session.started()
    await session.detach()
    again = await local.box.attach(session.name)
    await again.close_input()
    assert await again.read() == b"2"
    theirs = narrowed(installed, Holder(b"x" * 32))
    with pytest.raises(UsageError, match="holder of a key that is not here"):
        await call(theirs)
    end = ShutdownTicket(installed.ticket.box, installed.shutdown_ticket.token).narrow(
        *(item for item in mine.ticket.token.caveats if isinstance(item, Holder))
    )
    await local.box.shutdown(end)
    assert len(local.instances) == 0


async def test_a_proof_is_for_one_session_and_one_token(local, installed, monkeypatch):
    mine = installed.ticket.narrow(Holder(holders.parse(holders.make())))
    name, other = secrets.token_bytes(16), secrets.token_bytes(16)
    proof = holders.prove(mine.token, mine.key, INVOKE | ATTACH, session_tag(name))
    monkeypatch.setattr("bento.client.box.prove", lambda *_: proof)
    await open_and_say(local, mine.token, name)
    for token, session in ((mine.token, other), (mine.token.narrow(Only(INVOKE)), name)):
        with pytest.raises(BoxError, match="no proof"):
            await open_and_say(local, token, session)
    for wrong in (b"", bytes(64)):
        monkeypatch.setattr("bento.client.box.prove", lambda *_: wrong)  # noqa: B023
        with pytest.raises(BoxError, match="no proof"):
            await open_and_say(local, mine.token, name)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Runs(b"x" * 32), "another function"),
        (Unknown(b"\x02\xc8!"), "does not know"),
        (Only(SHUTDOWN), "does not allow"),
        (NotAfter(1), "time is over"),
        (Uses(bytes(8), 0), "uses are spent"),
        (Bytes(bytes(8), 0), "bytes are used up"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_condition_that_does_not_hold_is_named_to_the_holder(installed, condition, said):
    with pytest.raises(BoxError, match=said):
        await call(narrowed(installed, condition))
    with pytest.raises(BoxError, match="no such token"):
        token = installed.ticket.token.narrow(condition)
        forged = Capability(token.name, token.raw[:-1], token.seal)
        await call(installed.box.instance(Ticket(installed.ticket.box, forged)))
    assert await call(installed) == b"1"


async def test_a_token_of_another_box_is_unknown_even_with_its_conditions_rewritten(
    local, installed
):
    async with local_box() as other:
        theirs = await other.box.install(ECHO)
        wanted = [AtBox(local.box.name.key), *theirs.ticket.token.caveats[1:]]
        token = Capability.mint(theirs.ticket.token.seal, theirs.ticket.token.name, *wanted)
        with pytest.raises(BoxError, match="no such token"):
            await call(local.box.instance(Ticket(local.box.name.box, token)))
        with pytest.raises(BoxError, match="another key than the ticket names"):
            local.box.instance(theirs.ticket)


async def test_a_ticket_of_another_relay_is_told_from_a_relay_with_another_key(local, installed):
    name = local.box.name
    elsewhere = Box(BoxName("other", "CD" * 20, name.key_hash), None)
    with pytest.raises(BoxError, match="belongs to another box"):
        elsewhere.instance(installed.ticket)
    again = Box(BoxName("local", name.fingerprint, "A" * 43), None)
    for use in (again.shutdown(installed.shutdown_ticket), again.attach(installed.session_name())):
        with pytest.raises(BoxError, match="another key than the"):
            await use
    with pytest.raises(BoxError, match="set up anew"):
        again.instance(installed.ticket)


async def test_a_new_instances_tokens_are_bound_to_its_code_and_its_box(
    local, installed, monkeypatch
):
    assert installed.ticket.key == local.box.name.key
    made = local.instances._tokens.mint
    monkeypatch.setattr(local.instances._tokens, "mint", lambda *_: made(bytes(32)))
    with pytest.raises(RemoteProtocolError, match="for something else"):
        await local.box.install(ECHO)


async def test_what_cannot_be_counted_does_not_happen(local, installed, monkeypatch):
    async def fails(*_):
        raise HostError("the disk is full")

    monkeypatch.setattr(local.visits._ledger, "spend", fails)
    with pytest.raises(BoxError, match="cannot count this use now"):
        await call(narrowed(installed, uses(1)))
    monkeypatch.setattr(local.visits._ledger, "draw", fails)
    with pytest.raises(BoxError, match="cannot count this use now"):
        await call(narrowed(installed, Bytes(bytes(8), 1_000_000)))
    assert await call(installed) == b"1"


async def test_many_at_once_spend_no_use_twice(local, installed):
    narrow = narrowed(installed, uses(4))
    results = await asyncio.gather(*(call(narrow) for _ in range(12)), return_exceptions=True)
    refused = [error for error in results if isinstance(error, BoxError)]
    assert (len(results) - len(refused), len(refused)) == (4, 8)
