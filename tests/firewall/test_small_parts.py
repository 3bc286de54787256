"""Isolation names, buckets, typed values, replies, the public face."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.firewall.kit import KEY, OWN_SERVICE, STRANGER

import bento.firewall
from bento.errors import UsageError
from bento.firewall import new_isolation_key, replies, tor_username, values
from bento.firewall.isolation import guest_name, is_owned
from bento.firewall.quota import Bucket
from bento.firewall.refusal import Refusal
from bento.tor.control_codec import Reply, ReplyParser


def test_the_public_names():
    assert sorted(bento.firewall.__all__) == [
        "Firewall",
        "Grants",
        "PERMISSIONS",
        "Permission",
        "RECORD",
        "Report",
        "Settings",
        "Usage",
        "new_isolation_key",
        "tor_username",
    ]


@given(st.text(max_size=60))
def test_a_user_name_belongs_to_the_function_whose_key_the_box_put_first(name):
    username = tor_username(KEY, name)
    assert is_owned(KEY, username) and not is_owned(STRANGER, username)
    assert guest_name(KEY, username) == name


def test_a_name_chosen_inside_a_function_claims_nothing():
    assert not is_owned(KEY, tor_username(STRANGER, KEY))
    assert not is_owned(KEY, KEY + "x") and not is_owned(KEY, None) and not is_owned(KEY, "")


def test_isolation_keys_are_random_and_long():
    assert len({new_isolation_key() for _ in range(100)}) == 100
    assert len(new_isolation_key()) == 32


def test_a_user_name_that_does_not_fit_is_an_error():
    assert tor_username(KEY, "x" * 222)
    with pytest.raises(UsageError):
        tor_username(KEY, "x" * 223)


def test_a_bucket_gives_its_burst_and_then_its_rate():
    bucket = Bucket(rate=2, burst=3, now=0)
    assert [bucket.take(1, 0) for _ in range(4)] == [True, True, True, False]
    assert bucket.ready_at(1, 0) == 0.5
    assert not bucket.take(1, 0.4) and bucket.take(1, 0.5)
    assert [bucket.take(1, 1000) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_fills_no_bucket():
    bucket = Bucket(rate=1, burst=1, now=100)
    assert bucket.take(1, 100)
    assert not bucket.take(1, 50) and not bucket.take(1, 100)


@given(st.text(max_size=60))
@pytest.mark.parametrize(
    "read",
    [
        values.fingerprint,
        values.nickname,
        values.onion_address,
        values.onion_key,
        values.client_key,
        values.word,
        lambda text: values.identifier(text, "circuit"),
        lambda text: values.number(text, 0, 10, "n"),
    ],
)
def test_a_reader_of_values_gives_a_plain_value_or_a_refusal(read, text):
    try:
        assert str(read(text)).isascii()
    except Refusal as refusal:
        assert refusal.status in (512, 513, 552)


def test_an_onion_address_must_have_the_right_checksum():
    assert values.onion_address(OWN_SERVICE.upper()) == OWN_SERVICE
    for at in range(0, 56, 5):
        wrong = OWN_SERVICE[:at] + ("a" if OWN_SERVICE[at] != "a" else "b") + OWN_SERVICE[at + 1 :]
        with pytest.raises(Refusal):
            values.onion_address(wrong)


LINES = st.text(st.characters(codec="ascii", exclude_characters="\r\0"), max_size=40)


@given(LINES)
def test_a_value_reads_back_with_tors_own_grammar(text):
    [reply] = ReplyParser().feed(replies.value("key", text) + replies.OK)
    assert isinstance(reply, Reply)
    line = reply.lines[0]
    told = line.text.removeprefix("key=") if line.data is None else line.data
    assert told.removesuffix("\n") == text.removesuffix("\n")


@given(st.text(max_size=600))
def test_an_error_text_is_always_one_line(text):
    line = replies.one_line(552, text)
    assert line.endswith(b"\r\n") and line.count(b"\n") == line.count(b"\r") == 1
