"""What is kept for the next start, and what must not be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bento.testnet import saved
from bento.testnet.layout import Layout, Size


@pytest.fixture
def plan(tmp_path: Path) -> Layout:
    """A network that ran once."""
    layout = Layout(Size(boxes=1), 77, tmp_path, tmp_path / "run")
    for node in [*layout.servers, *layout.clients]:
        (node.data / "keys").mkdir(parents=True)
        (node.data / "keys" / "secret_id_key").touch()
        (node.data / "fingerprint").touch()
        (node.data / "cached-consensus").touch()
        (node.data / "state").touch()
        (node.data / "diff-cache").mkdir()
    layout.boxes[0].state.mkdir(parents=True)
    (layout.boxes[0].state / "identity.key").touch()
    saved.prepare(layout)
    for node in layout.servers:
        (node.data / "cached-consensus").touch()
    return layout


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_the_same_network_finds_everything_again(plan: Layout) -> None:
    before = names(plan.authority.data)
    assert saved.prepare(plan)
    assert names(plan.authority.data) == before
    assert saved.last_net(plan.data) == 77


@pytest.mark.parametrize("other", [{"net": 78}, {"size": Size(boxes=2)}, {"size": Size(1, 5)}])
def test_another_network_keeps_keys_but_no_documents(plan: Layout, other: dict[str, int]) -> None:
    assert not saved.prepare(replace(plan, **other))  # type: ignore[arg-type]
    for node in [*plan.servers, *plan.clients]:
        assert names(node.data) == {"keys", "fingerprint"}
    assert (plan.boxes[0].state / "identity.key").exists()


def test_another_delay_changes_no_document(plan: Layout) -> None:
    assert saved.prepare(replace(plan, size=Size(boxes=1, delay_ms=50)))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"net": "x"}'])
def test_a_damaged_note_costs_a_vote_and_nothing_else(plan: Layout, content: str) -> None:
    (plan.data / "layout.json").write_text(content)
    assert saved.last_net(plan.data) is None
    assert not saved.prepare(plan)
