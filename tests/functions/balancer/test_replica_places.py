"""A front's places on other boxes: a replica that does not begin gives its place back."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from tests.waiting import until

from bento.errors import BoxError
from bento.functions.balancer.elsewhere import OtherBoxes


class Child:
    """An instance on the box `place`; it can be called unless that box is in `mute`."""

    def __init__(self, place, mute):
        self.place = self.box = place
        self.mute, self.ended = mute, False
        self.shutdown_ticket = f"bentoend1{id(self):x}"

    def invoke(self):
        if self.place.fingerprint in self.mute:
            raise BoxError("the connection to the box broke")
        return SimpleNamespace(recv=lambda: b"", send=lambda data: None, close=lambda: None)

    def __exit__(self, *_):
        self.ended = True


class Boxes:
    def __init__(self, names, mute):
        self.places = [SimpleNamespace(fingerprint=name) for name in names]
        self.mute, self.children = mute, []
        self.answer, self.asked = threading.Event(), False
        self.answer.set()

    def list(self):
        return self.places

    def install(self, code, place, manifest):
        self.asked = True
        self.answer.wait()
        self.children.append(Child(place, self.mute))
        return self.children[-1]


async def test_a_replica_that_cannot_be_called_keeps_no_place():
    boxes = Boxes("ABC", mute="ABC")
    with pytest.raises(BoxError):
        await OtherBoxes(SimpleNamespace(boxes=boxes), b"", "")(0)
    assert len(boxes.children) == 3
    assert all(child.ended for child in boxes.children)


async def test_a_box_that_did_not_answer_is_asked_last_from_then_on():
    boxes = Boxes("ABC", mute="B")
    start = OtherBoxes(SimpleNamespace(boxes=boxes), b"", "")
    for number in range(9):
        await start(number)
    asked = [child.place.fingerprint for child in boxes.children]
    assert asked.count("B") <= 1
    assert asked.count("A") >= 4 and asked.count("C") >= 4


async def test_one_that_comes_up_too_late_is_ended():
    boxes = Boxes("A", mute="")
    boxes.answer = threading.Event()
    starting = asyncio.ensure_future(OtherBoxes(SimpleNamespace(boxes=boxes), b"", "")(0))
    await until(lambda: boxes.asked)
    starting.cancel()
    await asyncio.wait([starting])
    boxes.answer.set()
    await until(lambda: [child.ended for child in boxes.children] == [True])


async def test_the_next_box_takes_it_and_its_replica_ends_with_its_channel():
    boxes = Boxes("AB", mute="A")
    start = OtherBoxes(SimpleNamespace(boxes=boxes), b"", "")
    channels = [await start(0), await start(1)]
    assert set(start.ends) == {c.shutdown_ticket for c in boxes.children if not c.ended}
    kept = [child for child in boxes.children if child.place.fingerprint == "B"]
    assert len(kept) == 2 and not any(child.ended for child in kept)
    for channel in channels:
        await channel.close()
    assert all(child.ended for child in boxes.children)
    assert start.ends == ()
