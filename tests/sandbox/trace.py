"""Which system calls a sandbox makes, as strace sees them from the machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import until

from bento.sandbox import Sandbox
from bento.sandbox.seccomp_table import Rule

# `1234 name(0x1, 0, …`, all arguments as numbers
_CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<arguments>[^)<]*)")


@dataclass
class Calls:
    """What was seen: (name, arguments)."""

    seen: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.seen}

    def need(self, rule: Rule) -> bool:
        """Whether one of them is what `rule` allows."""
        return any(
            name == rule.call and all(arguments[w.index] & w.mask == w.value for w in rule.where)
            for name, arguments in self.seen
        )


@asynccontextmanager
async def traced(sandbox: Sandbox, folder: Path) -> AsyncIterator[Calls]:
    """Traces every process of `sandbox` meanwhile; the calls are there after the block."""
    output, calls = folder / f"{sandbox.instance_id}.calls", Calls()
    options = ("-f", "-qq", "-e", "raw=all", "-e", "signal=none", "-o", str(output))
    strace = await asyncio.create_subprocess_exec("strace", *options, "-p", str(sandbox.pid))
    try:
        await until(lambda: _is_traced(sandbox.pid))
        yield calls
    finally:
        strace.terminate()
        await strace.wait()
    calls.seen.update(_parsed(output.read_text()))


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def _parsed(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for call in _CALL.finditer(text):
        words = call["arguments"].replace(",", " ").split()
        numbers = [int(word, 0) if word[0].isdigit() else 0 for word in words]
        yield call["name"], (*numbers, *[0] * (6 - len(numbers)))
