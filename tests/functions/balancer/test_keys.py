"""A service's key and points in a folder."""

from __future__ import annotations

import pytest

from bento.errors import HostError, UsageError
from bento.functions.balancer import keys
from bento.onion.blinding import OnionIdentity


def test_a_key_is_made_once_in_c_tors_form_and_only_its_owner_can_read_it(tmp_path):
    folder = tmp_path / "service"
    made = keys.key_of(folder)
    assert keys.key_of(folder) == made
    path = folder / "hs_ed25519_secret_key"
    assert path.stat().st_mode & 0o077 == 0
    address = OnionIdentity.from_c_tor_file(path.read_bytes()).address
    assert (folder / "hostname").read_text() == f"{address}.onion\n"


def test_without_a_folder_each_key_is_new():
    assert keys.key_of(None) != keys.key_of(None)


def test_what_is_no_key_is_told_and_left_alone(tmp_path):
    (tmp_path / keys.SECRET).write_bytes(b"something else")
    with pytest.raises(UsageError):
        keys.key_of(tmp_path)
    assert (tmp_path / keys.SECRET).read_bytes() == b"something else"
    with pytest.raises(HostError):
        keys.key_of(tmp_path / keys.SECRET / "below a file")


def test_points_are_kept_for_the_next_front_and_secret(tmp_path):
    assert keys.points_of(tmp_path) == keys.points_of(None) == b""
    keys.keep_points(tmp_path, b"points")
    assert keys.points_of(tmp_path) == b"points"
    assert (tmp_path / keys.POINTS).stat().st_mode & 0o077 == 0
