"""`bentod top`: what runs on this box, on a terminal for as long as one looks, else once."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from bento.cli.output import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

    from bento.box.operator_messages import Row, Top

_EVERY = 2.0  # seconds
_WIDE = 140  # columns of a table that goes into a file


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--once", action="store_true", help="show it once, also on a terminal")


def run(args: argparse.Namespace) -> int:
    from bento.cli.box_orders import ask

    def look() -> Top:
        top = ask(args.config, "top").top
        assert top is not None
        return top

    if args.json:
        import msgspec

        emit(**msgspec.to_builtins(look()))
        return 0
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    if args.once or not console.is_terminal:
        console.print(show(look(), {}, 0.0))
        return 0
    _watch(console, look)
    return 0


def _watch(console: Console, look: Callable[[], Top]) -> None:
    from rich.live import Live

    seen: dict[str, float] = {}
    at = time.monotonic()
    top = look()
    with Live(show(top, seen, 0.0), console=console, screen=True, auto_refresh=False) as live:
        while True:
            seen = {row.id: row.cpu_seconds for row in top.instances}
            time.sleep(_EVERY)
            top, now = look(), time.monotonic()
            live.update(show(top, seen, now - at), refresh=True)
            at = now


def show(top: Top, before: dict[str, float], seconds: float) -> RenderableType:
    """`before`: cpu seconds of each instance `seconds` ago; without, the sum so far is shown."""
    from rich.table import Table

    state = ", draining" if top.draining else ""
    title = f"{top.name}: {len(top.instances)} of {top.capacity} instances{state}"
    caption = f"{top.refused} requests turned away, {len(top.blocked)} functions blocked"
    table = Table(title=title, caption=caption)
    for name in ("id", "image", "function", "ends in"):
        table.add_column(name, no_wrap=name == "id")
    for name in ("cpu", "memory", "clients in/out", "network in/out", "sessions", "refused"):
        table.add_column(name, justify="right")
    for row in sorted(top.instances, key=lambda row: -row.memory):
        table.add_row(*_cells(row, before, seconds))
    return table


def _cells(row: Row, before: dict[str, float], seconds: float) -> tuple[str, ...]:
    cpu = f"{row.cpu_seconds:.1f} s"
    if seconds and row.id in before:
        cpu = f"{100 * (row.cpu_seconds - before[row.id]) / seconds:.0f} %"
    return (
        row.id[:8],
        row.image,
        row.function[:12],
        _minutes(row.expires - time.time()),
        cpu,
        _bytes(row.memory),
        f"{_bytes(row.bytes_in)} / {_bytes(row.bytes_out)}",
        f"{_bytes(row.network_in)} / {_bytes(row.network_out)}",
        str(row.sessions),
        str(row.refused),
    )


def _minutes(seconds: float) -> str:
    minutes = max(0, int(seconds // 60))
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
