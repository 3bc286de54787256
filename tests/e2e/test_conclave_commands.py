"""Conclaves as a user types them, over a real Tor network."""

import pytest
from tests.e2e.command import bento
from tests.e2e.web import web_site

pytestmark = pytest.mark.network

STORY = """
def main(api, word: str):
    (api.data / "kept").write_text(word)
    api.send((api.data / "kept").read_text() * 2)
"""


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.py"
    path.write_text(STORY)
    return path


def test_one_flag_runs_a_function_in_a_conclave_and_the_verdict_is_shown(network, story):
    done = bento("run", "--conclave", "--allow-emulated", "--json", story, "hello ")
    assert (done.status, done.out) == (0, b"hello hello ")
    assert "conclave: no hardware; " in done.err
    assert "EMULATED: the operator can read everything" in done.err
    assert done.summary["bytes"] == 12


def test_an_installed_conclave_is_used_narrowed_and_left_by_its_ticket(network, tmp_path):
    """The ticket alone tells that a conclave is meant, and each use attests it anew."""
    echo = tmp_path / "echo.py"
    echo.write_text("def main(api, word: str):\n    api.send(word + api.recv().decode())\n")
    installed = bento("install", "--conclave", "--allow-emulated", "--json", echo).json
    ticket, emulated = installed["ticket"], "--allow-emulated"
    done = bento("invoke", emulated, ticket, "a ", stdin=b"b")
    assert (done.out, "EMULATED" in done.err) == (b"a b", True)
    assert bento("invoke", ticket, "a ").status == 15, "the default policy refuses"
    weaker = bento("narrow", "--uses", "1", "--json", ticket).json["ticket"]
    left = bento("invoke", emulated, "--detach", "--json", weaker, "c ").json["session"]
    assert bento("attach", emulated, left, stdin=b"d").out == b"c d"
    assert bento("invoke", emulated, weaker, "c ").status == 12
    assert "in a conclave" in bento("ticket", ticket).err
    assert bento("shutdown", installed["shutdown"]).status == 0


def test_a_file_waits_in_a_conclave_by_the_same_flag(network, tmp_path):
    file, emulated = tmp_path / "letter", "--allow-emulated"
    file.write_bytes(b"a letter " * 50_000)
    put = bento("put", "--conclave", emulated, "--gets", "1", "--json", file)
    assert put.status == 0, put.err
    assert "EMULATED" in put.err
    ticket = put.json["ticket"]
    assert bento("get", ticket).status == 15, "the default policy refuses"
    got = bento("get", emulated, ticket)
    assert (got.status, got.out) == (0, file.read_bytes()), got.err


def test_a_page_is_fetched_in_a_conclave_by_the_same_flag(network):
    page = {"/": b"<title>hidden</title>"}
    with web_site(page) as (site, visits):
        done = bento("browse", "--conclave", "--allow-emulated", "--json", "--timing", "none", site)
    assert (done.status, done.json["title"]) == (0, "hidden"), done.err
    assert "EMULATED" in done.err
    assert visits


def test_by_default_an_emulated_conclave_is_refused(network, story):
    done = bento("run", "--conclave", story, "hello ")
    assert (done.status, done.out) == (15, b"")
    assert "--allow-emulated" in done.err


def test_attest_shows_the_verdict_in_full_and_its_exit_status_is_the_decision(network):
    done = bento("attest", "box1", "--allow-emulated", "--json")
    assert (done.status, done.json["accepted"], done.json["refusals"]) == (0, True, [])
    facts = done.json["facts"]
    assert facts["bound to this channel"] == "yes"
    assert facts["published runtime"] == "yes"
    assert facts["meaning"] == "EMULATED: the operator can read everything"
    refused = bento("attest", "box1")
    assert refused.status == 15


def test_a_trust_policy_decides(network, story, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        f'families = ["emulated"]\nmin_level = "emulated"\nemulated_root = "{network.emulated_root}"\n'
    )
    assert bento("run", "--trust", policy, story, "a ").out == b"a a "
    policy.write_text(policy.read_text() + f'refused_platforms = ["{"0" * 32}"]\nruntimes = []\n')
    assert bento("run", "--trust", policy, story, "a ").status == 0
    policy.write_text(policy.read_text() + "published_runtimes = false\n")
    refused = bento("run", "--trust", policy, story, "a ")
    assert refused.status == 15
    assert "[runtimes]" in refused.err
