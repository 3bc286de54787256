"""How far a transfer is, on a terminal and nowhere else."""

from __future__ import annotations

import sys
from types import TracebackType

_WIDTH = 30


class Bar:
    """One line that is drawn over itself, once for each percent."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what = what
        self._shown = -1
        self._quiet = quiet or not sys.stderr.isatty()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown >= 0:
            print(file=sys.stderr)

    def show(self, done: int, total: int) -> None:
        percent = 100 * done // total if total else 100
        if self._quiet or percent == self._shown:
            return
        self._shown = percent
        full = "=" * (_WIDTH * percent // 100)
        print(
            f"\r{self._what} [{full:<{_WIDTH}}] {percent:3} %", end="", file=sys.stderr, flush=True
        )
