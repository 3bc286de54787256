"""What travels is the same program, line by line."""

from __future__ import annotations

import ast

from bento.functions.lean import lean

SOURCE = '''"""A module."""

# A comment.
X = """not # a comment"""  # beside code


class Error(Exception):
    """Nothing else.

    Over lines."""


def main(api):
    """Sends."""
    # Inside.
    return f"# {X}"
'''


def test_comments_and_docstrings_stay_and_everything_else_keeps_its_line():
    short = lean(SOURCE)
    gone = ("A module", "A comment", "Nothing", "Over", "Sends", "Inside")
    assert [word for word in gone if word in short] == []
    assert short.count("\n") == SOURCE.count("\n")
    known: dict[str, object] = {}
    exec(short, known)
    assert known["main"](None) == "# not # a comment"
    where = {n.name: n.lineno for n in ast.walk(ast.parse(SOURCE)) if hasattr(n, "name")}
    assert where == {n.name: n.lineno for n in ast.walk(ast.parse(short)) if hasattr(n, "name")}
