"""An onion service can be found when no upload is under way any more and one has arrived."""

from __future__ import annotations

import pytest

from bento.testnet.publication import Publication
from bento.tor.control_codec import Event, ReplyParser

ADDRESS = "a" * 56


def hear(*lines: str) -> bool:
    """Whether `ADDRESS` counts as published after these HS_DESC events, written as tor does."""
    publication = Publication(ADDRESS)
    raw = "".join(f"650 HS_DESC {line}\r\n" for line in lines).encode()
    for event in ReplyParser().feed(raw):
        assert isinstance(event, Event)
        publication.hear(event)
    return publication._done.is_set()


def line(action: str, directory: str, address: str = ADDRESS) -> str:
    return f"{action} {address} UNKNOWN ${directory * 40}~relay0"


@pytest.mark.parametrize(
    ("lines", "published"),
    [
        ([], False),
        ([line("CREATED", "0")], False),
        ([line("UPLOAD", "A")], False),
        ([line("UPLOAD", "A"), line("UPLOADED", "A")], True),
        ([line("UPLOAD", "A"), line("UPLOAD", "B"), line("UPLOADED", "A")], False),
        ([line("UPLOAD", "A"), line("UPLOAD", "A"), line("UPLOADED", "A")], False),
        ([line("UPLOAD", "A"), line("FAILED", "A")], False),
        (
            [
                line("UPLOAD", "A"),
                line("UPLOAD", "B"),
                line("FAILED", "A") + " REASON=UPLOAD_REJECTED",
                line("UPLOADED", "B"),
            ],
            True,
        ),
        ([line("UPLOAD", "A", "b" * 56), line("UPLOADED", "A", "b" * 56)], False),
    ],
)
def test_published(lines: list[str], published: bool) -> None:
    assert hear(*lines) is published
