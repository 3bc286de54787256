"""`bento balance --merged`: its words, and what it shows of a front that knows instances only."""

from __future__ import annotations

import argparse
import io

import pytest
from rich.console import Console

from bento.cli import balance
from bento.errors import UsageError

SAID = {
    "address": "service.onion",
    "way": "merged",
    "points": 6,
    "uploads": 16,
    "replicas": [
        {"instance": "one.onion", "state": "ready", "points": 3, "seconds": 12.4},
        {"instance": "two\x1b[2J.onion", "state": "not found", "points": 0, "seconds": 0.0},
    ],
}


def test_instances_are_shown_in_words_that_act_on_no_terminal():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(balance.table(SAID))
    shown = console.export_text()
    for word in ("service.onion", "one.onion", "ready", "not found", "12", "16 times"):
        assert word in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["--merged", "nothing.onion"],
        ["--merged", "a" * 56],
    ],
)
def test_addresses_that_are_none_are_refused_before_a_key_is_made(words, tmp_path):
    parser = argparse.ArgumentParser()
    balance.arguments(parser)
    args = parser.parse_args(["--key", str(tmp_path / "key"), *words])
    args.json = True
    with pytest.raises(UsageError):
        balance.run(args)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--conclave", "--allow-emulated"], "conclave"),  # it would show the key to the box's tor
        (["--standby"], "standby"),
    ],
)
def test_what_a_merging_front_cannot_be_is_refused(words, says, tmp_path):
    parser = argparse.ArgumentParser()
    balance.arguments(parser)
    merged = ["--merged", f"{'a' * 56}.onion"]
    args = parser.parse_args(["--key", str(tmp_path / "key"), *merged, *words])
    args.json = True
    with pytest.raises(UsageError, match=says):
        balance.run(args)
