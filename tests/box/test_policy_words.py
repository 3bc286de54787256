"""`bentod policy`: the offer in plain words, and what a function would get or why not. Nothing is started."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from bento.box.admission import admit, problems
from bento.box.config import load
from bento.box.offer import make_policy
from bento.box.plain_words import describe, granted, show_time
from bento.cli.bentod import main
from bento.errors import PolicyError
from bento.protocol.manifest import Manifest
from bento.protocol.policy import Policy

CONFIG = """
name = "box"
state = "{folder}/state"
run = "{folder}/run"
[entrance.circuit]
[tor]
relay_control = "unix:/nowhere"
allow = ["circuits=4", "events"]
[egress]
via = "direct"
rules = ["*:80", "*:443"]
[capacity]
images = ["python"]
memory = "128 MiB"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "bentod.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


@pytest.fixture
def policy(config) -> Policy:
    return make_policy(load(config), "cgroup")


def written(tmp_path, *manifest: str):
    lines = ["# /// bento", *(f"# {line}" for line in manifest), "# ///", "def main(api): pass"]
    path = tmp_path / "function.py"
    path.write_text("\n".join(lines))
    return path


def test_policy_tells_every_item_in_plain_words_and_starts_nothing(config, tmp_path, capsys):
    assert main(["policy", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    for words in (
        "python (system calls: python)",
        "20 at once",
        "up to 128 MiB each",
        "up to 2 cores",
        "up to 1 day",
        "*:80, *:443, from the box itself, within the relay's own exit policy",
        "build, extend and close circuits (at most 4 circuits open at once)",
        "hear events about the function's own objects",
        "the operator can look into everything",
    ):
        assert words in said, words
    assert not (tmp_path / "state").exists() and not (tmp_path / "run").exists()


def test_relays_are_told_where_the_operator_offers_them(config, tmp_path, capsys):
    assert main(["policy", "--config", str(config)]) == 0
    assert "relays" in capsys.readouterr().out
    config.write_text(config.read_text().replace("[egress]", "[egress]\nrelays = true"))
    assert make_policy(load(config), "cgroup").relays
    file = written(tmp_path, "relays = true")
    assert main(["policy", "--config", str(config), "explain", str(file)]) == 0
    assert "connects to the ORPorts of the consensus" in capsys.readouterr().out


def test_policy_as_json_is_the_document_that_would_be_signed(config, policy, capsys):
    assert main(["policy", "--json", "--config", str(config)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Policy.parse(json.dumps(told).encode()).tor == policy.tor
    assert set(told) == {item.name for item in fields(Policy)}


def test_explain_says_what_a_function_would_get(config, tmp_path, capsys):
    file = written(tmp_path, 'memory = "96 MiB"', 'egress = ["*:443"]', 'tor = ["circuits=2"]')
    assert main(["policy", "--config", str(config), "explain", str(file)]) == 0
    shown = capsys.readouterr()
    assert "would be taken" in shown.err
    assert "96 MiB" in shown.out and "*:443, from the box" in shown.out
    assert "(at most 2 circuits open at once)" in shown.out


def test_explain_names_everything_that_is_too_much_at_once(config, tmp_path, capsys):
    file = written(
        tmp_path,
        'image = "browser"',
        'memory = "1 GiB"',
        'egress = ["*:25"]',
        'tor = ["circuits=5", "streams"]',
        'lifetime = "2d"',
    )
    status = main(["policy", "--config", str(config), "explain", str(file), "--json"])
    assert status == PolicyError.exit_status
    told = json.loads(capsys.readouterr().out)
    assert told["admitted"] is False
    about = [problem.split()[0] for problem in told["problems"]]
    assert sorted(about) == ["egress", "image", "lifetime", "memory", "tor", "tor"]


@pytest.mark.parametrize(
    ("manifest", "about"),
    [
        ('image = "browser"', "image 'browser'"),
        ("conclave = true", "image 'python-conclave'"),
        ('syscalls = "browser"', "syscalls 'browser': python functions get 'python'"),
        ('memory = "1 GiB"', "memory 1 GiB"),
        ("cpu = 4", "cpu 4 cores"),
        ('disk = "1 GiB"', "disk 1 GiB"),
        ("pids = 4096", "pids 4096"),
        ('lifetime = "30d"', "lifetime"),
        ('spool = "1 GiB"', "spool 1 GiB"),
        ('egress = ["*:22"]', "egress *:22"),
        ('tor = ["onion-services"]', "tor 'onion-services=1'"),
        ("relays = true", "relays: this box does not let functions connect to relays"),
    ],
)
def test_each_item_of_a_manifest_is_bounded_by_the_policy(policy, manifest, about):
    with pytest.raises(PolicyError) as caught:
        admit(Manifest.parse(manifest), policy)
    assert about in caught.value.detail
    assert len(problems(Manifest.parse(manifest), policy)) == 1


def test_what_is_offered_is_taken_and_every_field_is_told(policy):
    manifest = Manifest.parse('syscalls = "python"\ntor = ["events"]\negress = ["*:443"]')
    assert problems(manifest, policy) == []
    assert dict(granted(manifest, policy))["tor"] == "hear events about the function's own objects"
    assert dict(describe(policy))["enforcement"].startswith("every limit is kept")


def test_a_conclave_may_be_asked_for_by_its_own_line():
    assert Manifest.parse("conclave = true").image == "python-conclave"
    assert Manifest.parse('conclave = true\nimage = "python-conclave"').image == "python-conclave"
    assert Manifest.parse("conclave = false").image == "python"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(86400, "1 day"), (7200, "2 hours"), (90 * 60, "90 minutes"), (61, "61 seconds")],
)
def test_times_are_told_in_their_largest_whole_unit(seconds, words):
    assert show_time(seconds) == words
