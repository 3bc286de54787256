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


def test_shards_wait_in_conclaves_by_the_same_flag(network, tmp_path):
    path, emulated = tmp_path / "thesis.pdf", "--allow-emulated"
    path.write_bytes(bytes(range(256)) * 2000)
    words = ("put", "--json", "--shards", 3, "--need", 2, "--for", "1h", "--conclave", emulated)
    put = bento(*words, path)
    assert put.status == 0, put.err
    assert put.err.count("EMULATED: the operator can read everything") == 1
    ticket = put.json["ticket"]
    assert bento("get", ticket).status == 15, "the default policy refuses"
    assert bento("get", emulated, ticket).out == path.read_bytes()
    assert bento("shutdown", put.json["shutdown"][0]).status == 0
    repaired = bento("shard", "repair", emulated, "--json", ticket).json
    assert list(repaired["lost"]) == put.json["boxes"][:1]
    chosen = ",".join(put.json["boxes"][:2])
    assert bento("get", emulated, "--from", chosen, repaired["ticket"]).out == path.read_bytes()
    policy = tmp_path / "policy.toml"
    policy.write_text("distinct_vendors = true\n")
    strict = bento(*words[:-4], "--for", "1m", "--conclave", emulated, "--trust", policy, path)
    assert strict.status == 15
    assert "distinct_vendors asks for 3 vendors" in strict.err
    for end in put.json["shutdown"][1:]:
        bento("shutdown", end)
