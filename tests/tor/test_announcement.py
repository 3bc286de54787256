"""What a box says of itself in its relay's ContactInfo."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import TorError, UsageError
from bento.tor.announcement import MAX_ANNOUNCEMENT, Announcement
from bento.tor.onion_service import encode_address

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
ONION = encode_address(bytes(range(32)))


def keys() -> st.SearchStrategy[str]:
    return st.binary(min_size=32, max_size=32).map(
        lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=")
    )


def announcements() -> st.SearchStrategy[Announcement]:
    onions = st.binary(min_size=32, max_size=32).map(encode_address)
    return st.builds(
        Announcement,
        port=st.integers(1, 65535),
        host=st.sampled_from(["", "relay"]),
        onion=st.just("") | onions,
        key=keys(),
    ) | st.builds(Announcement, onion=onions, key=keys())


@given(announcements())
def test_what_a_box_announces_is_read_back(announced):
    words = announced.contact_info()
    assert len(words.encode()) < MAX_ANNOUNCEMENT
    assert Announcement.parse(words) == announced
    assert Announcement.parse(f"Jo <jo at example.test> {words} url:x y=z bento") == announced


@pytest.mark.parametrize("line", ["", "jo at example.test", "bento", "mybento=1 port=1", "Bento=1"])
def test_a_relay_without_a_box_announces_nothing(line):
    assert Announcement.parse(line) is None


@given(st.text())
def test_any_contact_line_is_nothing_or_valid_or_refused(line):
    for contact in (line, f"bento=1 {line}", f"bento=1 port={line} key={KEY}"):
        try:
            announced = Announcement.parse(contact)
        except TorError:
            continue
        assert announced is None or Announcement.parse(announced.contact_info()) == announced


GOOD = f"bento=1 port=5000 onion={ONION} key={KEY}"


@pytest.mark.parametrize(
    "line",
    [
        "bento=1",
        "bento=2 port=5000",
        "bento= port=5000",
        f"bento=1 key={KEY}",
        "bento=1 port=5000",
        f"{GOOD} bento=1",
        f"{GOOD} key={KEY}",
        f"{GOOD} port=",
        GOOD.replace("5000", "0"),
        GOOD.replace("5000", "05000"),
        GOOD.replace("5000", "65536"),
        GOOD.replace("5000", "-1"),
        GOOD.replace("5000", "5_0"),
        GOOD.replace("5000", "٥"),
        GOOD.replace(KEY, KEY + "="),
        GOOD.replace(KEY, KEY[:-1]),
        GOOD.replace(KEY, KEY[:-1] + "9"),
        GOOD.replace(KEY, KEY.replace("A", "+", 1)),
        GOOD.replace(ONION, ONION.upper()),
        GOOD.replace(ONION, ONION + ".onion"),
        GOOD.replace(ONION, "a" * 56),
        f"{GOOD} host=127.0.0.1",
        f"{GOOD} host=evil.example",
        f"bento=1 {'x' * 5000} {GOOD[8:]}",
    ],
)
def test_an_impossible_announcement_is_refused(line):
    with pytest.raises(TorError):
        Announcement.parse(line)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"host": "a b"},
        {"onion": "x"},
        {"key": "short"},
        {"version": 2},
        {"port": 0},
    ],
)
def test_a_box_cannot_announce_what_nobody_could_read(wrong):
    with pytest.raises(UsageError):
        Announcement(**({"port": 5000, "key": KEY} | wrong))


def test_the_circuit_entrance_is_the_host_only_address_unless_the_relay_says_its_own():
    assert Announcement(port=1, key=KEY).circuit_host("198.51.100.7") == "192.0.2.77"
    assert Announcement(port=1, key=KEY, host="relay").circuit_host("127.0.0.9") == "127.0.0.9"
