"""Runs `bento` as a user does: a process of its own, its output and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

CONCLAVE = {
    "--conclave",
    "--trust",
    "--allow-emulated",
}  # such a command is watched: tests/blindness.py


@dataclass
class Done:
    status: int
    out: bytes
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def summary(self):
        return json.loads(self.err.splitlines()[-1])


def bento(*words, stdin=b"", program="bento.cli.main"):
    watched = ("tests.blindness",) if CONCLAVE & set(words) else ()
    done = subprocess.run(
        [sys.executable, "-m", *watched, program, *map(str, words)],
        input=stdin,
        capture_output=True,
    )
    err = done.stderr.decode()
    assert 'Traceback (most recent call last)\n  File "/' not in err
    return Done(done.returncode, done.stdout, err)
