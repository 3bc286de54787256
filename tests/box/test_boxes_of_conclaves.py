"""A conclave uses other boxes: its own carries what it says to them, and reads only how much it asks for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

import pytest
from tests.box.test_boxes import ask as ask_in_the_open
from tests.box.test_boxes import function
from tests.box.test_conclave import trust_in
from tests.local_box import local_box
from tests.neighbourhood import NO_TOR, Nearby, box_of
from tests.waiting import until

from bento.box.asked import hold_to
from bento.errors import FunctionError, PolicyError, RemoteProtocolError
from bento.protocol.door import Create, Open, Renew, Seal
from bento.protocol.policy import key_hash

USES = function(
    """
    def main(api, name: str):
        with api.boxes.install(SHOUT, "there") as child:
            with child.invoke(times=2) as call:
                call.send(name)
                call.close_input()
                api.send(call.read())
        api.send(" " + " ".join(place.nickname for place in api.boxes.list()))
    """,
    "boxes = 1",
)


@pytest.fixture
async def town():
    """Conclaves are here; what they use is there."""
    nearby = Nearby()
    known = {"neighbours": nearby, "tor": NO_TOR, "boxes": 8, "pool": 0}
    async with local_box(attester="emulated", **known) as here, local_box(**known) as there:
        nearby.add("here", here)
        nearby.add("there", there)
        yield {"here": here, "there": there}, nearby
        nearby.break_all()


async def ask(local, source, *args):
    trust, _ = trust_in(local)
    instance, session = await box_of(local).run(source, *args, trust=trust)
    await session.close_input()
    try:
        return (await session.read()).decode()
    finally:
        await instance.shutdown()


async def parent_of(local, body, *manifest):
    """A conclave that did what it was told to, and holds on to it."""
    trust, _ = trust_in(local)
    source = function(
        f"def main(api):\n    {body}\n    api.send('ready')\n    time.sleep(600)", *manifest
    )
    instance, session = await box_of(local).run(source, trust=trust)
    assert await anext(aiter(session)) == b"ready"
    await session.detach()
    return instance


class Tap:
    """On all that passes between boxes."""

    def __init__(self, nearby):
        self.seen = bytearray()
        self._connect, nearby.connect = nearby.connect, self._connected
        self._tasks = []

    async def _connected(self, *where):
        far = await self._connect(*where)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self._tasks.append(asyncio.create_task(self._pass(ours, far)))
        return theirs

    async def _pass(self, near, far):
        with contextlib.closing(near), contextlib.closing(far):
            await asyncio.gather(self._pump(near, far), self._pump(far, near))

    async def _pump(self, source, sink):
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, 1 << 16):
                self.seen += data
                await loop.sock_sendall(sink, data)
            sink.shutdown(socket.SHUT_WR)


async def test_its_own_box_reads_neither_code_nor_words_nor_the_token_of_the_child_that_it_uses(
    town, monkeypatch, caplog
):
    caplog.set_level("DEBUG")
    boxes, nearby = town
    tap = Tap(nearby)
    tokens = []
    mint = type(boxes["there"].instances._tokens).mint

    def minted(self, *args):
        made = mint(self, *args)
        tokens.append(made)
        return made

    monkeypatch.setattr(type(boxes["there"].instances._tokens), "mint", minted)
    said = await ask(boxes["here"], USES, "a word for the other one ")
    assert said == "A WORD FOR THE OTHER ONE A WORD FOR THE OTHER ONE  there", "and not its own box"
    assert len(boxes["there"].instances) == 0
    assert len(set(nearby.connections)) == 1, "to one child, one circuit"
    child = tokens[-1][1]
    secrets = {
        "code": b"piece.upper() * times",
        "word": b"a word for the other one",
        "answer": b"A WORD FOR THE OTHER ONE",
        "invocation": child.seal,
        "its text": child.encode(),
    }
    assert len(tap.seen) > 4000, "the tap did not see what passed"
    views = {"carried": bytes(tap.seen), "logged": caplog.text.encode()}
    found = {
        (what, where)
        for where, view in views.items()
        for what, one in secrets.items()
        if one in view
    }
    assert found == set()
    # The same in the open: the tap does see what there is to see.
    tap.seen.clear()
    await ask_in_the_open(boxes["here"], USES, "a word for the other one ")
    assert secrets["word"] in tap.seen
    assert tokens[-1][1].seal in tap.seen


async def test_places_are_those_of_the_conclave_and_what_is_refused_costs_none(town):
    boxes, nearby = town
    nearby.add("liar", boxes["there"], key=key_hash(bytes(32)))
    source = function(
        """
        from bento.errors import BoxError, PolicyError

        def refused(api, box="there", **terms):
            try:
                api.boxes.install(IDLE, box, **terms).shutdown()
            except (BoxError, PolicyError) as error:
                return error.detail
            return "taken"

        def main(api):
            first = api.boxes.install(IDLE, "there")
            said = [refused(api)]
            first.shutdown()
            said += [refused(api, manifest=line) for line in ("boxes = 1", 'memory = "9 GiB"')]
            said += [refused(api, "here"), refused(api), refused(api, "liar")]
            return "|".join(said)
        """,
        "boxes = 1",
    )
    second, deep, large, own, after, liar = (await ask(boxes["here"], source)).split("|")
    assert "1 places (its own and its children's): 0 are left" in second
    assert "2 places" in deep
    assert "memory 9 GiB: this box gives at most" in large, "the other box's own word"
    assert "its operator would read" in own
    assert "key" in liar
    assert after == "taken", "no try has kept a place"
    assert len(boxes["there"].instances) == 0


SAID = Seal(1, 60, 60, b"")


def test_what_comes_sealed_is_held_to_what_was_said_of_it():
    def asks(**manifest):
        lines = {"lifetime": 60, "lease": 60} | manifest
        text = "\n".join(f"{key} = {value}" for key, value in lines.items())
        hold_to(SAID, Create(text, bytes(32), b"", b""))

    asks()
    for wider in ({"boxes": 1}, {"lifetime": 61}, {"lease": 61}):
        with pytest.raises(PolicyError, match="more than was said"):
            asks(**wider)
    with pytest.raises(PolicyError, match="no lease"):
        hold_to(SAID, Create("lifetime = 60", bytes(32), b"", b""))
    hold_to(Seal(0, 0, 0, bytes(16)), Open(b"x", bytes(16), b""))
    for said, request in (
        (Seal(0, 0, 0, b""), Create("", bytes(32), b"", b"")),
        (SAID, Open(b"x", bytes(16), b"")),
        (SAID, Renew(b"x")),
        (SAID, SAID),
    ):
        with pytest.raises(RemoteProtocolError, match="not what was said"):
            hold_to(said, request)


async def test_a_key_that_its_own_box_makes_up_is_not_believed_by_one_that_was_told_the_right_one(
    town,
):
    boxes, nearby = town
    nearby.add("pretended", boxes["there"])
    [true] = [one for one in nearby.entries if one.nickname == "pretended"]
    source = function(
        """
        from bento.errors import BoxError
        def main(api, line: str):
            api.boxes.only([line])
            with api.boxes.install(IDLE, "pretended"):
                said = [place.nickname for place in api.boxes.list()]
            for name in ("there", "here"):
                try:
                    api.boxes.install(IDLE, name)
                except BoxError as error:
                    said.append(error.detail)
            return "|".join(said)
        """,
        "boxes = 1",
    )
    line = f"pretended {true.fingerprint} {boxes['there'].identity.key_hash}"
    said = await ask(boxes["here"], source, line)
    assert said.split("|")[0] == "pretended"
    assert said.count("none of those") == 2
    line = f"pretended {true.fingerprint} {key_hash(bytes(32))}"
    with pytest.raises(FunctionError, match="key"):
        await ask(boxes["here"], source, line)


async def test_one_that_says_less_than_it_asks_for_is_refused_by_the_other_box(town):
    """Even a guest that was altered: it speaks with its own box and the other one as it likes."""
    boxes, _ = town
    source = function(
        """
        from bento.errors import BentoError
        from bento.guest import knock
        from bento.protocol.door import Create, Seal
        def main(api):
            place = api.boxes.find("there")
            knock._shown_of = lambda request: Seal(1, 60, 60, b"")
            text = "boxes = 3\\nlifetime = 3000\\nlease = 600"
            try:
                knock.knock(place, Create(text, bytes(32), b"", b""), walls=api.boxes._walls)
            except BentoError as error:
                return error.detail
        """,
        "boxes = 4",
    )
    said = await ask(boxes["here"], source)
    for word in ("places 4, not 1", "lifetime 3000, not 60", "lease 600, not 60"):
        assert word in said
    assert len(boxes["there"].instances) == 0


async def test_one_shutdown_or_kill_ends_the_tree(town):
    boxes, _ = town
    install = "api.child = api.boxes.install(IDLE, 'there')"
    parent = await parent_of(boxes["here"], install, "boxes = 1")
    assert len(boxes["there"].instances) == 1
    await parent.shutdown()
    await until(lambda: len(boxes["there"].instances) == 0)
    await parent_of(boxes["here"], install, "boxes = 1")
    os.kill(next(iter(boxes["here"].instances)).sandbox.pid, signal.SIGKILL)
    await until(lambda: len(boxes["there"].instances) == 0)
