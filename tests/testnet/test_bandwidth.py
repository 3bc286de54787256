"""Every relay begins with the same history, whatever it did before."""

from __future__ import annotations

from pathlib import Path

from bento.testnet.bandwidth import RATE, level

OLD = """# Tor state file last generated on 2026-11-22 11:22:54 local time
BWHistoryReadEnds 2026-11-23 11:22:54
BWHistoryReadMaxima 7
BWHistoryDirReadMaxima 3
Guard in=default rsa_id=00
"""


def test_a_new_relay_gets_a_history(tmp_path: Path) -> None:
    level(tmp_path / "tor")
    text = (tmp_path / "tor" / "state").read_text()
    assert f"BWHistoryReadMaxima {RATE}\n" in text
    assert f"BWHistoryWriteMaxima {RATE}\n" in text


def test_an_old_history_is_replaced_and_all_else_kept(tmp_path: Path) -> None:
    (tmp_path / "state").write_text(OLD)
    level(tmp_path)
    level(tmp_path)
    lines = (tmp_path / "state").read_text().splitlines()
    assert [line for line in lines if line.startswith("BWHistoryReadMaxima")] == [
        f"BWHistoryReadMaxima {RATE}"
    ]
    assert "Guard in=default rsa_id=00" in lines
    assert "BWHistoryDirReadMaxima 3" in lines
