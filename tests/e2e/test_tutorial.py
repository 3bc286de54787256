"""Every listing of the tutorial runs as it stands and prints what stands below it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
FILE = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)
SESSION = re.compile(r"(?:^    .*\n)+", re.MULTILINE)

pytestmark = pytest.mark.network


def sessions(text):
    """(command, what it should print) of each command, in order."""
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for block in SESSION.findall(outside):
        lines = [line[4:] for line in block.splitlines()]
        starts = [n for n, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield lines[start][2:], "".join(f"{line}\n" for line in lines[start + 1 : end])


def test_the_tutorial_runs_from_top_to_bottom(network, tmp_path):
    text = TUTORIAL.read_text()
    files = FILE.findall(text)
    assert [name for name, _ in files] == [
        "greet.py",
        "count.py",
        "poll.py",
        "together.py",
        "compose.py",
    ]
    for name, code in files:
        (tmp_path / name).write_text(code)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = 0
    for command, expected in sessions(text):
        if command == "bento testnet up":
            continue  # it is up: the tests' own
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if "pytest" not in command:
            assert done.stdout == expected, f"{command}: {done.stderr}"
        ran += 1
    assert ran == 12
