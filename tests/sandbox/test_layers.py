"""The check looks at a real sandbox; a layer that is missing is named, and never crashes the check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.sandbox.inside import blob

from bento.sandbox import check, hierarchies


async def test_every_layer_is_present_here(folder: Path) -> None:
    layers = {layer.name: layer for layer in await check(folder, blob())}
    assert {
        *("bubblewrap", "libseccomp", "image python", "image browser", "a sandbox starts"),
        *("namespaces of its own", "system call filter", "no capabilities, none to gain"),
        *("a user of its own", "tor goes first", "limit of memory by control group"),
    } <= set(layers)
    missing = [layer for layer in layers.values() if not layer.present]
    if os.geteuid() == 0:
        assert missing == []
    assert list(folder.iterdir()) == []


async def test_a_sandbox_that_cannot_start_is_a_missing_layer(folder: Path) -> None:
    layers = await check(folder, blob("raise OSError('broken')"))
    (start,) = [layer for layer in layers if layer.name == "a sandbox starts"]
    assert not start.present and "broken" in start.detail


async def test_missing_groups_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchies, "ours", tuple)
    layers = await check(folder, blob())
    missing = [layer.name for layer in layers if not layer.present]
    assert missing[:3] == [
        f"limit of {name} by control group" for name in ("cpu", "memory", "pids")
    ]
    assert "limits by rlimit" in {layer.detail for layer in layers}
