"""The list of boxes on disk."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tor.test_boxes import ANNOUNCED, descriptor, relay

from bento.errors import HostError
from bento.tor.boxes import find_boxes
from bento.tor.relay_cache import exclusively, load, save

BOXES = find_boxes([relay("b")], [descriptor("b", ANNOUNCED.contact_info())])


def test_what_was_kept_is_found_until_it_is_too_old(tmp_path):
    path = tmp_path / "boxes.json"
    save(path, BOXES)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path, 60) == BOXES
    assert load(path, 0) is None
    assert os.listdir(tmp_path) == ["boxes.json"]


def test_a_list_from_the_future_is_not_believed(tmp_path):
    path = tmp_path / "boxes.json"
    save(path, BOXES)
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(content | {"saved_at": time.time() + 1000}))
    assert load(path, 60) is None


def test_no_file_is_no_list(tmp_path):
    assert load(tmp_path / "none", 60) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", 3), ("more", 1), ("boxes", [{}]), ("boxes", {}), ("saved_at", "x")],
)
def test_a_file_of_another_form_is_no_list(tmp_path, key, value):
    path = tmp_path / "boxes.json"
    save(path, BOXES)
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {key: value}))
    assert load(path, 60) is None


def test_a_changed_announcement_is_checked_again(tmp_path):
    path = tmp_path / "boxes.json"
    save(path, BOXES)
    path.write_bytes(path.read_bytes().replace(b'"port":5000', b'"port":99999'))
    assert load(path, 60) is None


@given(content=st.binary(max_size=200))
def test_any_file_is_a_list_or_none(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    assert load(path, 60) is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError):
        save(tmp_path / "file" / "boxes.json", BOXES)


async def test_one_at_a_time(tmp_path):
    path = tmp_path / "deep" / "boxes.json"
    inside = 0

    async def enter() -> None:
        nonlocal inside
        async with exclusively(path):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(5)))
