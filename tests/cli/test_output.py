"""What boxes and functions say reaches a terminal as text, and as nothing else."""

from __future__ import annotations

import pytest

from bento.cli import boxes, output
from bento.client.finder import BoxReport
from bento.errors import BoxError
from bento.tor.announcement import Announcement
from bento.tor.discovery import RelayEntry

HOSTILE = "no\x1b[2J\x1b]52;c;ZXZpbA==\x07 \x9b31m \u202egnp.exe \ud800"


def is_harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


def test_a_refusal_moves_hides_and_colours_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    error = BoxError(HOSTILE, HOSTILE)
    error.add_note(HOSTILE)
    output.report(error)
    said = capsys.readouterr().err
    assert is_harmless(said)
    assert said.count("no\\x1b[2J") == 3


def test_a_line_of_a_function_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(f"| {HOSTILE}")
    assert is_harmless(capsys.readouterr().err)


def test_words_of_all_languages_stay_as_they_are() -> None:
    text = "naïve 東京 ★ ✓\tline\n"
    assert output.plain(text) == text


def test_a_box_that_does_not_answer_says_why_in_plain_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = RelayEntry.__new__(RelayEntry)
    object.__setattr__(entry, "nickname", "box")
    object.__setattr__(entry, "fingerprint", "AB" * 20)
    object.__setattr__(entry, "announcement", Announcement.__new__(Announcement))
    boxes._print(BoxReport(entry, None, HOSTILE))
    assert is_harmless(capsys.readouterr().out)
