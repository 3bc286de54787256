"""A box's rooms log through `bento.safelog` and in no other way. Read from the sources."""

import ast
from pathlib import Path

import pytest

import bento
from bento.safelog import Event

SOURCES = Path(bento.__file__).parent
ROOMS = ("box", "conclave", "egress", "firewall", "protocol", "sandbox", "tor")
FILES = sorted(path for room in ROOMS for path in (SOURCES / room).rglob("*.py"))
FORBIDDEN_MODULES = {"logging", "syslog", "traceback", "pdb", "rich", "structlog"}
FORBIDDEN_NAMES = {"print", "stdout", "stderr", "__stdout__", "__stderr__", "breakpoint"}
FORBIDDEN_CALLS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__", "warnings.warn"}


def other_ways(source):
    """(line, what) of each way to write a log that is not safelog's."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named = {alias.name.partition(".")[0] for alias in node.names} & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            named = {(node.module or "").partition(".")[0]} & FORBIDDEN_MODULES
            named |= {alias.name for alias in node.names} & FORBIDDEN_NAMES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = {ast.unparse(node)} & FORBIDDEN_CALLS
        elif isinstance(node, ast.Name):
            named = {node.id} & FORBIDDEN_NAMES
        else:
            continue
        yield from ((node.lineno, name) for name in named)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_this_file_logs_in_no_other_way(path):
    assert list(other_ways(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import logging",
        "import logging.handlers",
        "from logging import getLogger",
        "import warnings; warnings.warn('x')",
        "print('x')",
        "import sys; sys.stderr.write('x')",
        "from sys import stderr",
        "def f():\n    import traceback",
    ],
)
def test_each_other_way_would_be_found(source):
    assert list(other_ways(source))


def test_every_call_of_log_names_an_event_with_its_own_fields():
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (
                isinstance(node, ast.Call) and ast.unparse(node.func) in ("log", "safelog.log")
            ):
                continue
            if not (node.args and ast.unparse(node.args[0]).startswith("Event.")):
                continue  # another function of that name
            event = Event[ast.unparse(node.args[0]).removeprefix("Event.")]
            given = {keyword.arg for keyword in node.keywords}
            assert given == set(event.value.fields), f"{path}:{node.lineno}"
