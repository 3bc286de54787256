"""The documentation's tables are the code's."""

from __future__ import annotations

from pathlib import Path

from bento.firewall.describe import rule_tables

PAGE = Path(__file__).parents[2] / "docs/firewall.md"
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def test_the_tables_of_the_page_are_those_of_the_code():
    before, _, rest = PAGE.read_text().partition(BEGIN)
    tables, _, after = rest.partition(END)
    assert before and after
    assert tables == f"\n{rule_tables()}\n\n", "write rule_tables() between the marks"
