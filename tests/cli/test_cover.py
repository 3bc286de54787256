"""A command under Cover, as far as it needs no Cover."""

import os
from argparse import Namespace

from bento.cli.cover import POLITE, _Errand
from bento.functions.cover.terms import Terms


async def test_the_command_goes_behind_the_cells(tmp_path):
    said = tmp_path / "niceness"
    words = ["sh", "-c", f"nice > {said}; exit 3"]
    errand = _Errand(Namespace(words=words, end="now", json=True), Terms(10_000_000), None)
    assert await errand._command(tmp_path / "socket") == 3
    assert int(said.read_text()) == min(19, os.nice(0) + POLITE) > os.nice(0)
