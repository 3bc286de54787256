"""Garbage is collected in slots and at no other moment, and Python is afterwards as it was."""

import gc

from bento.functions.cover.garbage import left_to_slots


class Knot:
    """Garbage that only a collection takes away."""

    def __init__(self, gone):
        self.itself = self
        self._gone = gone

    def __del__(self):
        self._gone.append(self)


def test_it_goes_in_the_slot_and_not_before():
    gone = []
    with left_to_slots():
        Knot(gone)
        [[] for _ in range(10_000)]
        assert gone == [], "whatever was made meanwhile"
        gc.collect()
        assert len(gone) == 1


def test_what_was_there_before_is_left_out_and_comes_back():
    was_enabled = gc.isenabled()
    with left_to_slots():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 1000
    assert gc.isenabled() == was_enabled
    assert gc.get_freeze_count() == 0
