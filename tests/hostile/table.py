"""`python -m tests.hostile.table`: writes the table of attacks into docs/security.md."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.attack import ENDED, HELD
from tests.hostile.catalogue import GROUPS

DOCUMENT = Path(__file__).parents[2] / "docs/security.md"
BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"
_TITLES = {
    "escape": "Out of the jail",
    "exhaustion": "Taking what others need",
    "snooping": "Reading what is not its own",
    "network": "Around the egress proxy, or through it",
}
_TEST = "tests/hostile/test_r1_hostile_functions.py::test_contained"


def table() -> str:
    """The section between the marks."""
    lines = [BEGIN, ""]
    for group, attacks in GROUPS.items():
        lines += [f"### {_TITLES[group]} ({len(attacks)})", ""]
        lines += ["| attack | stopped by | what becomes of it | test |", "|---|---|---|---|"]
        for attack in attacks:
            becomes = {ENDED: "ended", HELD: "held"}.get(attack.expect, "refused")
            lines.append(f"| {attack.name} | {attack.layer} | {becomes} | `[{attack.name}]` |")
        lines.append("")
    return "\n".join([*lines, f"Each test is `{_TEST}` with the name in brackets.", END])


def written() -> str:
    """The same section as it stands in the document."""
    text = DOCUMENT.read_text()
    return text[text.index(BEGIN) : text.index(END) + len(END)]


if __name__ == "__main__":
    DOCUMENT.write_text(DOCUMENT.read_text().replace(written(), table()))
