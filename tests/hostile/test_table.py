"""The table of attacks in the documents is the one that is tested."""

from __future__ import annotations

from tests.hostile.table import table, written


def test_the_documents_list_every_attack() -> None:
    assert written() == table(), "run: python -m tests.hostile.table"
