"""A file on several boxes over a real Tor network, one of which loses its shard."""

import pytest
from tests.e2e.command import bento

pytestmark = pytest.mark.network


def test_a_file_outlives_a_box_and_is_repaired(network, tmp_path):
    path = tmp_path / "thesis.pdf"
    path.write_bytes(bytes(range(256)) * 5000)
    put = bento("put", "--json", "--shards", 3, "--need", 2, "--for", "1h", path)
    assert put.status == 0, put.err
    said = put.json
    assert set(said["boxes"]) == {"box0", "box1", "box2"}
    assert bento("shutdown", said["shutdown"][0]).status == 0
    got = bento("get", "--json", "-o", tmp_path / "copy", said["ticket"])
    assert got.status == 0, got.err
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert got.summary["name"] == "thesis.pdf"
    chosen = ",".join(said["boxes"][1:])
    assert bento("get", "--from", chosen, said["ticket"]).out == path.read_bytes()
    repaired = bento("shard", "repair", "--json", said["ticket"]).json
    assert list(repaired["lost"]) == said["boxes"][:1]
    assert repaired["boxes"] == said["boxes"]  # there is no fourth one
    chosen = ",".join(said["boxes"][:2])
    assert bento("get", "--from", chosen, repaired["ticket"]).out == path.read_bytes()
    for end in said["shutdown"][1:]:
        bento("shutdown", end)
    lost = bento("get", "-o", tmp_path / "none", repaired["ticket"])
    assert lost.status == 12
    assert "2 good shards are needed" in lost.err


def test_shards_say_what_is_wrong_with_their_words(tmp_path):
    here = tmp_path / "here"
    here.write_text("x")
    for words in (
        ("put", "--shards", 3, "--need", 4, here),
        ("put", "--shards", 3, "--gets", 1, here),
        ("put", "--shards", 3, "--diversity", "luck", here),
        ("get", "bentoshard1abc"),
        ("shard", "repair", "hello"),
    ):
        done = bento(*words)
        assert done.status == 2, done.err
        assert "hint: " in done.err
