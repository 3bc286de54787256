"""`bento new NAME`: a function to begin with, and a test for it that passes."""

from __future__ import annotations

import argparse
import keyword
from pathlib import Path

from bento.cli.output import emit, say
from bento.errors import HostError, UsageError

_FUNCTION = '''\
# /// bento
# memory = "64 MiB"
# ///
"""What {name} does, in one sentence."""


def main(api, greeting: str = "hello"):
    """Greets, then gives back in capitals whatever comes in."""
    api.send(f"{{greeting}}, this is {name}: ")
    for piece in api:
        api.send(piece.upper())
'''

_TEST = '''\
"""Run it with: python -m pytest test_{name}.py"""

import subprocess
import sys
from pathlib import Path

FUNCTION = Path(__file__).with_name("{name}.py")


def call(*words, stdin=b""):
    """What the function sends when it is called here, without Tor and without a sandbox."""
    command = [sys.executable, "-m", "bento.cli.main", "run", "--local", str(FUNCTION), *words]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def test_it_greets_and_gives_the_input_back_in_capitals():
    assert call("good day", stdin=b"word") == b"good day, this is {name}: WORD"
'''


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="as a Python module: letters, digits, _")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path())


def run(args: argparse.Namespace) -> int:
    name = args.name
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise UsageError(f"{name!r} names no Python module", "use letters, digits and _")
    files = {f"{name}.py": _FUNCTION, f"test_{name}.py": _TEST}
    paths = [args.output / file for file in files]
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists", "choose another name, or -o DIR")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text.format(name=name))
    except OSError as error:
        raise HostError(f"cannot write in {args.output}: {error.strerror}") from None
    if args.json:
        emit(function=str(paths[0]), test=str(paths[1]))
    else:
        say(f"{paths[0]} is a function, {paths[1]} tests it")
        say(
            f"try it here: bento run --local {paths[0]} < /dev/null; on a box: bento run {paths[0]}"
        )
    return 0
