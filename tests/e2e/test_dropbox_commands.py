"""A file handed over by two commands that are never online together, over a real Tor network."""

import hashlib

import pytest
from tests.e2e.command import bento

pytestmark = pytest.mark.network


def test_a_file_is_put_and_fetched_by_its_ticket_alone(network, tmp_path):
    path, copy = tmp_path / "letter.txt", tmp_path / "copy"
    path.write_bytes(bytes(range(256)) * 1000)
    done = bento("put", "--json", "--gets", 2, "--for", "1h", path)
    assert done.status == 0, done.err
    said = done.json
    assert {"ticket", "size", "sha256", "boxes"} <= set(said)
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    left = bento("get", "--status", "--json", said["ticket"]).json
    assert (left["gets_left"], left["stored"]) == (2, said["stored"])
    assert bento("get", said["ticket"]).out == path.read_bytes()
    fetched = bento("get", "--json", "-o", copy, said["ticket"])
    assert fetched.summary["name"] == "letter.txt"
    assert copy.read_bytes() == path.read_bytes()
    gone = bento("get", "-o", tmp_path / "late", said["ticket"])
    assert gone.status == 12
    assert not (tmp_path / "late").exists()


def test_put_and_get_say_what_is_wrong_with_their_words(tmp_path):
    here = tmp_path / "here"
    here.write_text("x")
    for words in (
        ("put", "/nowhere"),
        ("put", "--for", "soon", here),
        ("put", "--gets", "-1", here),
        ("put", "--max-bytes", "many", here),
        ("get", "hello"),
    ):
        done = bento(*words)
        assert done.status == 2, done.err
        assert "hint: " in done.err
