"""What is kept for the next start, and what must not be."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from bento.testnet import saved
from bento.testnet.layout import Layout, Size


def consensus(layout: Layout, lives_for: float, without: str = "") -> str:
    """The lines of a consensus that matter here."""
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + lives_for))
    names = [node.name for node in layout.servers if node.name != without]
    return f"valid-until {until}\n" + "".join(f"r {name} AAAA\n" for name in names)


@pytest.fixture
def plan(tmp_path: Path) -> Layout:
    """A network that ran a moment ago."""
    layout = Layout(Size(boxes=1), 77, tmp_path, tmp_path / "run")
    saved.prepare(layout)
    for node in [*layout.servers, *layout.clients]:
        (node.data / "keys").mkdir(parents=True)
        (node.data / "keys" / "secret_id_key").touch()
        (node.data / "fingerprint").touch()
        (node.data / "state").touch()
        (node.data / "diff-cache").mkdir()
    write(layout, consensus(layout, 800))
    layout.boxes[0].state.mkdir(parents=True)
    (layout.boxes[0].state / "identity.key").touch()
    return layout


def write(layout: Layout, text: str) -> None:
    for node in [*layout.servers, *layout.clients]:
        (node.data / "cached-consensus").write_text(text)
        (node.data / "cached-microdesc-consensus").write_text(text)


def files(layout: Layout) -> list[str]:
    return sorted(str(path.relative_to(layout.data)) for path in layout.data.rglob("*"))


def test_the_same_network_finds_everything_again(plan: Layout) -> None:
    before = files(plan)
    saved.prepare(plan)
    assert files(plan) == before
    assert saved.last_net(plan.data) == 77


@pytest.mark.parametrize("other", [{"net": 78}, {"size": Size(boxes=2)}, {"size": Size(1, 5)}])
def test_another_network_keeps_keys_but_no_documents(plan: Layout, other: dict[str, int]) -> None:
    saved.prepare(replace(plan, **other))  # type: ignore[arg-type]
    for node in [*plan.servers, *plan.clients]:
        assert {entry.name for entry in node.data.iterdir()} == {"keys", "fingerprint"}
    assert (plan.boxes[0].state / "identity.key").exists()


def test_another_delay_changes_no_document(plan: Layout) -> None:
    before = files(plan)
    saved.prepare(replace(plan, size=Size(boxes=1, delay_ms=50)))
    assert files(plan) == before


@pytest.mark.parametrize(
    ("lives_for", "without"), [(-10, ""), (0, ""), (290, ""), (800, "relay1"), (800, "box0")]
)
def test_a_consensus_that_needs_a_successor_at_once_is_forgotten_by_all(
    plan: Layout, lives_for: float, without: str
) -> None:
    """A relay that holds a live one asks for the next only minutes later."""
    write(plan, consensus(plan, lives_for, without))
    before = files(plan)
    saved.prepare(plan)
    assert [path for path in before if "consensus" not in path] == files(plan)


def test_a_damaged_consensus_is_forgotten(plan: Layout) -> None:
    write(plan, "nonsense")
    saved.prepare(plan)
    assert not any("consensus" in path for path in files(plan))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"net": "x"}'])
def test_a_damaged_note_costs_a_vote_and_nothing_else(plan: Layout, content: str) -> None:
    (plan.data / "layout.json").write_text(content)
    assert saved.last_net(plan.data) is None
    saved.prepare(plan)
    assert not any("consensus" in path for path in files(plan))
    assert any("secret_id_key" in path for path in files(plan))
