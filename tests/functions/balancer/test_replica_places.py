"""A front's places on other boxes: a replica that does not begin gives its place back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bento.errors import BoxError
from bento.functions.balancer.front_main import OtherBoxes


class Child:
    """An instance on the box `place`; it can be called unless that box is in `mute`."""

    def __init__(self, place, mute):
        self.place, self.mute, self.ended = place, mute, False

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

    def list(self):
        return self.places

    def install(self, code, place, manifest):
        self.children.append(Child(place, self.mute))
        return self.children[-1]


async def test_a_replica_that_cannot_be_called_keeps_no_place():
    boxes = Boxes("ABC", mute="ABC")
    with pytest.raises(BoxError):
        await OtherBoxes(SimpleNamespace(boxes=boxes), b"", "")(0)
    assert len(boxes.children) == 3
    assert all(child.ended for child in boxes.children)


async def test_the_next_box_takes_it_and_its_replica_ends_with_its_channel():
    boxes = Boxes("AB", mute="A")
    start = OtherBoxes(SimpleNamespace(boxes=boxes), b"", "")
    channels = [await start(0), await start(1)]
    kept = [child for child in boxes.children if child.place.fingerprint == "B"]
    assert len(kept) == 2 and not any(child.ended for child in kept)
    for channel in channels:
        await channel.close()
    assert all(child.ended for child in boxes.children)
