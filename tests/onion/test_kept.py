"""Introduction points come back over a restart with keys and memory; a damaged record is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.onion.test_intro import KEYS, NOW, SUBCREDENTIALS, TARGET, Client, opened, point

from bento.errors import UsageError
from bento.onion import kept
from bento.onion.intro import CookieMemory, IntroductionPoint, Replayed
from bento.onion.kept import KeptPoint


def again(at: IntroductionPoint) -> IntroductionPoint:
    (found,) = kept.parse(kept.pack([KeptPoint.of(at)]))
    return found.at(TARGET)


def test_a_point_comes_back_with_its_keys_its_age_and_what_it_served():
    at = point()
    opened(Client().message(), at)
    back = again(at)
    assert back.keys.auth_key == KEYS.auth_key and back.keys.secrets() == KEYS.secrets()
    assert (int(at.expires), at.left, at.seen) == (back.expires, back.left, back.seen)
    assert opened(Client(cookie=b"\x08" * 20).message(), back).relay == TARGET


def test_an_introduction_from_before_the_restart_is_still_a_replay_after_it():
    at, message = point(), Client().message()
    opened(message, at)
    with pytest.raises(Replayed):
        again(at).open(message, SUBCREDENTIALS, CookieMemory(), NOW)


def test_a_spent_point_comes_back_spent():
    at = point()
    at.left = -1
    assert again(at).is_spent(NOW)
    assert again(point()).is_spent(NOW + 25 * 3600)


@given(st.integers(0, 200), st.binary(max_size=300))
def test_any_bytes_are_a_record_or_the_declared_error(cut: int, more: bytes):
    at = point()
    at.seen = {bytes([n]) * 16 for n in range(3)}
    whole = bytes(kept.pack([KeptPoint.of(at)]))
    for record in (whole[:cut] + more, more):
        try:
            kept.parse(record)
        except UsageError:
            pass


def test_its_secrets_are_not_shown():
    record = kept.pack([KeptPoint.of(point())])
    assert repr(record) == f"<{len(record)} secret bytes>"
    assert "\\x05" not in repr(kept.parse(record))
