"""A function uses other boxes: whole boxes, real sandboxes; only Tor between them is missing."""

from __future__ import annotations

import os
import signal
import textwrap

import pytest
from tests.box.test_functions_tor import ASK_SOCKS, OFFLINE
from tests.local_box import local_box
from tests.neighbourhood import box_of, neighbourhood
from tests.waiting import until

from bento.errors import PolicyError

CHILD = '''
import time
IDLE = b"""
def main(api):
    for piece in api: api.send(piece)
"""
SHOUT = b"""
def main(api, times: int):
    for piece in api: api.send(piece.upper() * times)
"""
'''


def function(body: str, *manifest: str) -> bytes:
    head = ["# /// bento", *(f"# {line}" for line in manifest), "# ///"]
    return "\n".join([*head, CHILD, textwrap.dedent(body)]).encode()


@pytest.fixture
async def town():
    async with neighbourhood("here", "there") as boxes:
        yield boxes


async def ask(local, source, *args):
    instance, session = await box_of(local).run(source, *args)
    await session.close_input()
    try:
        return (await session.read()).decode()
    finally:
        await instance.shutdown()


async def parent_of(local, install, *manifest):
    """A running function that has installed what it was told to, and holds on to it."""
    body = f"""
def main(api):
    api.children = {install}
    api.send("ready")
    time.sleep(600)
"""
    instance, session = await box_of(local).run(function(body, *(manifest or ("boxes = 4",))))
    async for piece in session:
        assert piece == b"ready"
        break
    await session.detach()
    return instance


# -- the use -------------------------------------------------------------------------------------


async def test_a_function_installs_calls_and_ends_one_on_another_box(town):
    boxes, nearby = town
    source = function(
        """
        def main(api, box: str):
            with api.boxes.install(SHOUT, box) as child:
                with child.invoke(times=2) as call:
                    call.send("hello ")
                    call.close_input()
                    return call.read()
        """,
        "boxes = 1",
    )
    assert await ask(boxes["here"], source, "there") == "HELLO HELLO "
    assert len(boxes["there"].instances) == 0
    assert len(set(nearby.connections)) == 1  # to one child, one circuit


async def test_an_ended_child_gives_its_place_back_and_each_has_a_circuit_of_its_own(town):
    boxes, nearby = town
    source = function(
        """
        def main(api):
            for _ in range(2):
                with api.boxes.install(IDLE, "there") as child:
                    child.invoke().close()
            api.send("two")
        """,
        "boxes = 1",
    )
    assert await ask(boxes["here"], source) == "two"
    assert len(set(nearby.connections)) == 2


async def test_it_uses_a_ticket_that_its_caller_gave_and_no_more_than_that_allows(town):
    boxes, _ = town
    other = await box_of(boxes["there"]).install(
        b"def main(api, name):\n    for _ in range(2): api.send(name)"
    )
    source = function(
        """
        from bento.errors import BoxError
        from bento.protocol.capability import Capability
        from bento.protocol.ticket import Ticket

        def said(remote):
            try:
                return remote.invoke("x").read().decode()
            except BoxError as error:
                return error.detail

        def main(api, line: str):
            once = api.boxes.ticket(line).narrow(uses=1)
            given = Ticket.parse(once)
            token = given.token
            widened = Ticket(given.box, Capability(token.name, token.raw[:-1], token.seal))
            for line in (widened.encode(), once, once):
                api.send(said(api.boxes.ticket(line)) + "|")
        """,
        "boxes = 1",
    )
    said = (await ask(boxes["here"], source, other.ticket.encode())).split("|")
    assert said[:3] == ["the box knows no such token", "xx", "the token's uses are spent"]
    await other.shutdown()


async def test_an_answer_of_any_size_passes_in_bounded_memory_or_is_refused_whole(town):
    boxes, _ = town
    source = function(
        """
        import resource
        from bento.errors import BoxError
        HUGE = b"def main(api):\\n    for _ in range(24): api.send(bytes(1 << 20))"
        def main(api):
            child = api.boxes.install(HUGE, "there")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            total = sum(map(len, child.invoke()))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            try:
                child.invoke().read(most=1 << 20)
            except BoxError as error:
                return f"{total >> 20} {grown < 12 << 10} {error.detail}"
        """,
        "boxes = 1",
    )
    said = await ask(boxes["here"], source)
    assert said == f"24 True the answer has more than {1 << 20} bytes"


async def test_a_call_goes_on_where_its_connection_broke(town):
    boxes, nearby = town
    source = function(
        """
        def main(api):
            child = api.boxes.install(IDLE, "there")
            call = child.invoke()
            for number in range(3):
                call.send(f"{number} " * 100000)
                got = 0
                while got < 200000:
                    got += len(call.recv(60))
                api.send("turn ")
                api.recv(4)
            call.close_input()
            api.send(call.read() or "end")
        """,
        "boxes = 1",
    )
    instance, session = await box_of(boxes["here"]).run(source)
    heard = b""
    async for piece in session:
        heard += piece
        if piece == b"turn ":
            nearby.break_all()
            await session.send(b"more")
    assert heard == b"turn turn turn end"
    await instance.shutdown()


async def test_a_loaded_boxs_price_is_paid_by_the_function(town, monkeypatch):
    boxes, _ = town
    price = 30_000  # hashes
    turnstile = boxes["there"].turnstile
    monkeypatch.setattr(turnstile, "_priced", True)
    monkeypatch.setattr(turnstile, "_price", lambda manifest: price)
    body = f"""{HOSTILE}
def main(api):
    api.send(said(lambda: api.boxes.install(IDLE, "there", patience=0)))
    api.send(said(lambda: api.boxes.install(IDLE, "there")))
"""
    said = await ask(boxes["here"], function(body, "boxes = 1"))
    assert said.startswith("busy: the box is busy")
    assert said.endswith("done. ")


# -- what is not granted -------------------------------------------------------------------------


async def test_without_the_permission_there_is_no_way_to_any_box(town):
    boxes, nearby = town
    source = function(
        """
        import socket
        def main(api):
            try:
                api.boxes
            except Exception as error:
                api.send(f"{error.detail}. ")
            try:
                socket.create_connection(("127.0.0.1", 1081), 5)
            except OSError as error:
                api.send(error.strerror)
        """
    )
    said = await ask(boxes["here"], source)
    assert said == "this function may not use other boxes. Connection refused"
    assert nearby.connections == []


async def test_through_tor_no_box_is_reached_either(town):
    boxes, nearby = town
    onion = nearby.entries[1].announcement.onion
    async with local_box(neighbours=nearby, tor=OFFLINE) as local:
        for name, reason in (
            (f"www.{onion}.onion", b"this is a box"),
            ("a" * 56 + ".onion", b"egress list"),
        ):
            instance, session = await local.box.run(ASK_SOCKS, name)
            await session.close_input()
            assert reason in await session.read()
            await instance.shutdown()


async def test_no_more_is_granted_than_the_policy_offers_and_nothing_by_default(town):
    boxes, _ = town
    with pytest.raises(PolicyError, match="boxes 9: this box gives at most 8"):
        await box_of(boxes["here"]).install(function("def main(api): pass", "boxes = 9"))
    async with local_box() as alone:
        with pytest.raises(PolicyError, match="boxes 1: this box gives at most 0"):
            await alone.box.install(function("def main(api): pass", "boxes = 1"))


async def test_a_box_is_a_name_that_a_relay_announces_and_never_an_address(town):
    boxes, nearby = town
    source = function(
        """
        def main(api, *names):
            for name in names:
                try:
                    api.boxes.install(IDLE, name)
                except Exception as error:
                    api.send(f"{type(error).__name__}: {error.detail}|")
        """,
        "boxes = 1",
    )
    addresses = [
        "127.0.0.1",
        "127.0.0.1:5000",
        "localhost",
        "a" * 56 + ".onion",
        "::1",
        "192.0.2.77",
    ]
    names = [*addresses, "nobody", "AB" * 20]
    said = await ask(boxes["here"], source, *names)
    assert said == "BoxError: no relay announces a box of this name|" * len(names)
    assert nearby.connections == []


HOSTILE = """
import hashlib
from bento.guest.knock import find, knock
from bento.protocol.door import Create, Renew, Shutdown
from bento.protocol.ticket import ShutdownTicket

def create(*manifest):
    # Past the guest's own client, which would not ask for this.
    digest = hashlib.sha256(IDLE).digest()
    return knock(find("there"), Create("\\n".join(manifest), digest, b"", b""))[1]

def said(work, *args):
    try:
        work(*args)
    except Exception as error:
        return f"{error.kind}: {error.detail}. "
    return "done. "

GOOD = 'lease = "60s"', 'lifetime = "10m"'
"""


async def test_a_budget_is_inherited_and_never_widened(town):
    boxes, nearby = town
    asked = {
        "lifetime 7200 s": ('lease = "60s"', 'lifetime = "2h"'),
        "no lease": ('lifetime = "1m"',),
        "4 places": ('lease = "60s"', 'lifetime = "1m"', "boxes = 3"),
        "a lease has at most": ('lease = "2h"', 'lifetime = "1m"'),
    }
    body = f"{HOSTILE}\ndef main(api):\n    for one in {list(asked.values())!r}:"
    body += "\n        api.send(said(create, *one) + '|')"
    said = await ask(boxes["here"], function(body, "boxes = 3"))
    for reason, answer in zip(asked, said.split("|"), strict=False):
        assert reason in answer
    assert nearby.connections == []


async def test_a_function_gets_no_more_children_at_once_than_it_was_granted(town):
    boxes, _ = town
    body = f"""{HOSTILE}
def main(api):
    held = [create(*GOOD) for _ in range(2)]
    api.send(said(create, *GOOD) + str(len(held)))
"""
    said = await ask(boxes["here"], function(body, "boxes = 2"))
    assert said.startswith("policy: the child asks for more than its parent has: 1 places")
    assert said.endswith(". 2")


async def test_a_child_is_counted_whoever_hears_of_it(town):
    """Code and call are sent with the request, and its answer is not waited for."""
    boxes, _ = town
    body = f"""{HOSTILE}
import socket
from bento.guest.knock import _dial, _reach
from bento.protocol.door import ClientDoor
from bento.protocol.session import Code, Invoke, Load
from bento.protocol.values import encode_values
from bento.protocol.wire import encode
def main(api):
    code = b"def main(api): api.recv()"
    create = Create("\\n".join(GOOD), hashlib.sha256(code).digest(), b"", b"")
    call = Invoke(bytes(16), encode_values([[], {{}}]), False, b"")
    follow = encode(Load(len(code), 0, bytes(16))) + encode(Code(code)) + encode(call)
    for _ in range(4):
        with _dial() as sock:
            _reach(sock, find("there").fingerprint)
            sock.sendall(ClientDoor().request(create) + follow)
            sock.settimeout(0.2)
    api.send("tried")
    api.recv()
"""
    instance, session = await box_of(boxes["here"]).run(function(body, "boxes = 2"))
    async for piece in session:
        assert piece == b"tried"
        break
    way = next(iter(boxes["here"].instances)).ways.boxes
    await until(lambda: not way._tasks)
    assert len(boxes["there"].instances) <= 2 - way.children.left
    await instance.shutdown()


async def test_a_forged_token_frees_no_place(town):
    boxes, _ = town
    body = f"""{HOSTILE}
def main(api):
    child = api.boxes.install(IDLE, "there")
    token = ShutdownTicket.parse(child.shutdown_ticket).token.encode()
    wrong = token[:-1] + bytes([token[-1] ^ 1])
    for request in (Renew(wrong), Shutdown(wrong, b"")):
        api.send(said(knock, find("there"), request))
    api.send(said(create, *GOOD))
"""
    said = await ask(boxes["here"], function(body, "boxes = 1"))
    assert said.count("knows no such token") == 2
    assert "0 are left" in said


async def test_a_box_with_another_key_is_given_no_code(town):
    boxes, nearby = town
    nearby.entries.pop()
    nearby.add("there", boxes["there"], key=boxes["here"].identity.key_hash)
    source = function(
        f"{HOSTILE}\ndef main(api): return said(api.boxes.install, IDLE, 'there')", "boxes = 1"
    )
    said = await ask(boxes["here"], source)
    assert said == "box: the box shows another key than its relay announces. "
    await until(lambda: len(boxes["there"].instances) == 0)


# -- the end -------------------------------------------------------------------------------------

NESTED = """api.boxes.install(b'''
# /// bento
# boxes = 1
# ///
def main(api):
    api.child = api.boxes.install(b"def main(api): pass", "beyond", lease=600)
    api.send("has one")
    api.recv()
''', "there", lease=600).invoke().recv()"""


async def test_one_shutdown_ends_the_whole_tree():
    async with neighbourhood("here", "there", "beyond") as (boxes, _):
        root = await parent_of(boxes["here"], NESTED)
        assert [len(boxes[name].instances) for name in boxes] == [1, 1, 1]
        await root.shutdown()
        await until(lambda: not any(len(local.instances) for local in boxes.values()))


async def test_a_parent_that_was_killed_takes_its_children_along(town):
    boxes, _ = town
    await parent_of(boxes["here"], "api.boxes.install(IDLE, 'there', lease=600)")
    os.kill(next(iter(boxes["here"].instances)).sandbox.pid, signal.SIGKILL)
    await until(lambda: len(boxes["there"].instances) == 0)


async def test_where_the_network_is_cut_a_lease_ends_what_nobody_can_be_told_of(town):
    boxes, nearby = town
    root = await parent_of(boxes["here"], "api.boxes.install(IDLE, 'there', lease=4)")
    child = next(iter(boxes["there"].instances))
    begun = child.renewed
    await until(lambda: child.renewed > begun)
    nearby.cut = True
    nearby.break_all()
    await root.shutdown()
    assert len(boxes["there"].instances) == 1
    await until(lambda: len(boxes["there"].instances) == 0)


async def test_a_child_that_another_function_adopts_outlives_its_parent():
    async with neighbourhood("here", "there", "beyond") as (boxes, nearby):
        body = """
def main(api):
    child = api.boxes.install(IDLE, 'there', lease=4)
    api.send(child.shutdown_ticket)
    api.recv()
"""
        root, session = await box_of(boxes["here"]).run(function(body, "boxes = 1"))
        line = await anext(aiter(session))
        heir = await parent_of(boxes["beyond"], f"api.boxes.adopt('{line.decode()}', lease=4)")
        child = next(iter(boxes["there"].instances))
        nearby.cut = True  # or its box would have word of its parent's end
        nearby.break_all()
        await root.shutdown()
        nearby.cut = False
        ended = child.renewed
        await until(lambda: child.renewed > ended + 5)
        assert len(boxes["there"].instances) == 1
        await heir.shutdown()
        await until(lambda: len(boxes["there"].instances) == 0)


async def test_a_childs_lifetime_is_cut_to_its_parents(town):
    boxes, _ = town
    install = "api.boxes.install(IDLE, 'there')"
    root = await parent_of(boxes["here"], install, "boxes = 1", 'lifetime = "5m"')
    child = next(iter(boxes["there"].instances))
    assert child.expires <= root.expires
    await root.shutdown()
