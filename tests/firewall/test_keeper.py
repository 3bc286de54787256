"""The keeper: every stream that no function waits for goes to tor, and only those."""

from __future__ import annotations

from tests.firewall.kit import KEY, STRANGER

from bento.firewall.keeper import Keeper
from bento.firewall.limits import ATTACH_TRIES
from bento.tor.control_codec import Event


def waits(stream: str, user: str = "", status: str = "CONTROLLER_WAIT") -> Event:
    keywords = {"SOCKS_USERNAME": user} if user else {}
    return Event("STREAM", (stream, status, "0", "a:80"), keywords)


def test_a_stream_of_nobody_is_given_to_tor():
    assert Keeper().event(waits("7")) == ["ATTACHSTREAM 7 0"]


def test_a_held_stream_is_left_to_its_function():
    keeper = Keeper()
    keeper.hold(KEY, True)
    assert keeper.event(waits("7", f"{KEY}.name")) == []
    assert keeper.event(waits("8", KEY)) == []
    assert keeper.event(waits("9", STRANGER)) == ["ATTACHSTREAM 9 0"]
    keeper.hold(KEY, False)
    assert keeper.event(waits("10", KEY)) == ["ATTACHSTREAM 10 0"]


def test_tors_own_streams_are_left_alone():
    assert Keeper().event(waits("7", status="NEW")) == []
    assert Keeper().event(Event("CIRC", ("7", "BUILT"), {})) == []
    assert Keeper().event(Event("STREAM", ("7", "CONTROLLER_WAIT", "0"), {})) == []


def test_a_stream_that_always_comes_back_is_closed_at_last():
    keeper = Keeper()
    answers = [keeper.event(waits("7")) for _ in range(ATTACH_TRIES + 1)]
    assert answers == [["ATTACHSTREAM 7 0"]] * ATTACH_TRIES + [["CLOSESTREAM 7 7"]]
    assert keeper.event(waits("7", status="CLOSED")) == []
    assert keeper.event(waits("7")) == ["ATTACHSTREAM 7 0"]


def test_what_the_keeper_remembers_is_bounded():
    keeper = Keeper()
    for number in range(10_000):
        keeper.event(waits(str(number)))
    assert len(keeper._tries) <= 4096
