"""What is inherited: places, time and leases, and that no order of events gives more of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.box.asked import Asked
from bento.box.children import Children
from bento.errors import PolicyError

NOW = 1_000_000


class Clock:
    def __init__(self):
        self.now = float(NOW)

    def __call__(self):
        return self.now


def child(boxes=0, lifetime=60, lease=60):
    return Asked(1 + boxes, lifetime, lease)


def test_everything_that_is_too_much_is_named_at_once():
    children = Children(2, NOW + 100, Clock())
    with pytest.raises(PolicyError) as caught:
        children.want(child(boxes=2, lifetime=101, lease=0), None, "")
    for word in ("3 places", "2 are left", "lifetime 101 s: 100 s are left", "no lease"):
        assert word in caught.value.detail


def test_a_child_that_nobody_renews_is_not_counted_for_ever():
    clock = Clock()
    children = Children(1, NOW + 1000, clock)
    children.began(children.want(child(), None, ""), b"a", b"token")
    clock.now += 59
    children.renew(b"a", b"token", None, "")
    clock.now += 59
    assert children.left == 0
    clock.now += 7  # its lease is over, and what its box may be late
    assert children.left == 1


def test_what_a_restarted_box_does_not_know_is_counted_as_it_is_renewed():
    children = Children(1, NOW + 1000, Clock())
    children.renew(b"known", b"token", None, "")
    assert children.left == 0
    with pytest.raises(PolicyError, match="more children than its manifest names"):
        children.renew(b"another", b"token", None, "")


def test_a_restarted_box_counts_what_it_knew_as_before_until_nobody_renews_it():
    clock = Clock()
    before = Children(4, NOW + 1000, clock)
    before.began(before.want(child(boxes=1), None, ""), b"a", b"token")
    before.began(before.want(child(), None, ""), b"b", b"token")
    after = Children(4, NOW + 1000, clock, before.kept)
    assert (before.left, after.left) == (1, 1)
    assert list(after) == []  # what ends them is written down nowhere
    clock.now += 59
    after.renew(b"a", b"token", "its box", "user")
    assert [(one.token, one.entry) for one in after] == [(b"token", "its box")]
    clock.now += 7
    assert after.left == 2  # of b the lease is over


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.integers(0, 3)),
        st.tuples(
            st.sampled_from(["began", "cancel", "ended", "renew", "wait"]), st.integers(0, 5)
        ),
    ),
    max_size=40,
)


@given(most=st.integers(1, 6), steps=STEPS)
def test_no_order_of_events_gives_a_place_twice(most, steps):
    """A model that counts only what is certainly there: never more than the manifest's number."""
    clock = Clock()
    children = Children(most, NOW + 10_000, clock)
    wanted, alive = [], {}
    for number, (step, which) in enumerate(steps):
        if step == "want":
            try:
                wanted.append(children.want(child(boxes=which), None, ""))
            except PolicyError:
                pass
        elif step in ("began", "cancel") and wanted:
            one = wanted.pop(which % len(wanted))
            if step == "cancel":
                children.cancel(one)
            else:
                name = str(number).encode()
                children.began(one, name, name)
                alive[name] = (one.cost, clock.now + 60)
        elif step in ("ended", "renew") and alive:
            name = sorted(alive)[which % len(alive)]
            if step == "ended":
                children.ended(name)
                del alive[name]
            else:
                children.renew(name, name, None, "")
                alive[name] = (alive[name][0], clock.now + 60)
        elif step == "wait":
            clock.now += 20
        alive = {name: one for name, one in alive.items() if one[1] > clock.now}
        held = sum(one.cost for one in wanted) + sum(cost for cost, _ in alive.values())
        assert held + max(children.left, 0) <= most
