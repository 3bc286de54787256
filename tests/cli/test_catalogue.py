"""The catalogue, and the function that `bento new` makes."""

import hashlib
import subprocess
import sys

from tests.e2e.command import bento

from bento.functions.catalogue import CATALOGUE
from bento.protocol.manifest import Manifest


def test_every_shipped_function_is_listed_with_what_the_operator_sees():
    import json

    lines = [json.loads(line) for line in bento("functions", "--json").out.splitlines()]
    assert [line["name"] for line in lines] == [shipped.name for shipped in CATALOGUE]
    for line, shipped in zip(lines, CATALOGUE, strict=True):
        assert line["hash"] == hashlib.sha256(shipped.upload()).hexdigest()
        assert line["size"] == len(shipped.upload())
        assert line["sees"]
        Manifest.parse(line["manifest"])
    shown = bento("functions").out.decode()
    assert all(shipped.sees in shown and shipped.hash in shown for shipped in CATALOGUE)


def test_a_new_function_comes_with_a_test_that_passes(tmp_path):
    assert bento("new", "-o", tmp_path, "mine").status == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    again = bento("new", "-o", tmp_path, "mine")
    assert again.status == 2
    assert "exists" in again.err
    assert bento("new", "-o", tmp_path, "no-module").status == 2
