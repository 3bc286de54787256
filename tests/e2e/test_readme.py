"""Every listing of the README runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.command import bento
from tests.e2e.web import web_site

README = Path(__file__).parents[2] / "README.md"
LISTINGS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

pytestmark = pytest.mark.network


def test_the_functions_listing_runs(network, tmp_path):
    (listing,) = [code for code in LISTINGS if code.startswith("# /// bento")]
    # The listing allows the web's ports; a test's web server has one of its own.
    path = tmp_path / "listing.py"
    with web_site({"/": b"the page"}) as (site, _):
        port = site.rsplit(":", 1)[1]
        path.write_text(listing.replace('"*:80"', f'"*:{port}"'))
        assert bento("run", path, f"{site}/").out == b"the page"


def test_the_python_listing_runs(network):
    (listing,) = [code for code in LISTINGS if "bento.connect()" in code]
    done = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout == "hello reader, you may read on: WHATEVER YOU LIKE\n", done.stderr


def test_the_synchronous_face_runs(network):
    code = "import bento; print(bento.run(b'def main(api, n): return n * 2', 'ab', box='box2'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "b'abab'\n", done.stderr


def test_the_example_runs(network):
    with web_site({"/": b"0123456789"}) as (site, _):
        done = bento("run", README.parent / "examples" / "hello.py", f"{site}/")
    assert b"200: 10 bytes" in done.out


def test_commands_of_the_readme_exist():
    for command in re.findall(r"\.venv/bin/bento (\w+)", README.read_text()):
        assert bento(command, "--help").status == 0
