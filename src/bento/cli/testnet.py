"""`bento testnet up|status|down`: the private network, run by a supervisor in the background."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING

from bento.cli.output import emit, say

if TYPE_CHECKING:
    from bento.testnet import Status, Step


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="start it; returns when it is usable")
    up.add_argument("--boxes", type=int, default=3, metavar="N", help="default: 3")
    up.add_argument("--relays", type=int, default=4, metavar="N", help="default: 4")
    up.add_argument(
        "--delay-ms", type=float, default=0.0, metavar="D", help="delay of every link, one way"
    )
    status = actions.add_parser("status", help="what is running")
    down = actions.add_parser("down", help="end it; its keys and documents are kept")
    for action in (up, status, down):
        # Also after the action; SUPPRESS, or its default would undo the one given before it.
        for flag in ("--json", "--debug"):
            action.add_argument(
                flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )


def run(args: argparse.Namespace) -> int:
    return {"up": _up, "status": _status, "down": _down}[args.action](args)


def _up(args: argparse.Namespace) -> int:
    from bento.testnet import Size, Testnet

    started = time.monotonic()
    network = Testnet(Size(args.boxes, args.relays, args.delay_ms))
    with _Progress() as progress:
        status = asyncio.run(network.up(progress.show))
    if args.json:
        _emit(status)
    else:
        say(f"the test network is up after {time.monotonic() - started:.1f} s")
        _print(status)
    return 0


def _status(args: argparse.Namespace) -> int:
    from bento.testnet import Testnet

    status = asyncio.run(Testnet().status())
    if args.json:
        _emit(status)
    elif not status.socks:
        say("no test network is running")
    else:
        _print(status)
    return 0


def _down(args: argparse.Namespace) -> int:
    from bento.testnet import Status, Testnet

    asyncio.run(Testnet().down())
    if args.json:
        _emit(Status())
    return 0


def _emit(status: Status) -> None:
    import msgspec

    emit(**msgspec.to_builtins(status))


def _print(status: Status) -> None:
    print(f"{'ready' if status.ready else 'not ready'}; SOCKS proxy {status.socks}")
    for box in status.boxes:
        print(f"{box.name}  {box.fingerprint}  {box.onion}.onion")
        print(f"    bentod {box.bentod_pid or 'not running'}, tor {box.tor_pid or 'not running'}")


class _Progress:
    """What is waited for, on stderr: one line rewritten on a terminal, else a line a thing."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def show(self, step: Step) -> None:
        if self._terminal:
            self._write(f"waiting for {step.what}: {step.done}/{step.total}")
        elif step.done == step.total:
            say(f"{step.what}: {step.done}/{step.total}")

    def _write(self, text: str) -> None:
        if self._terminal:
            # Return to the first column and erase to the end of the line (ECMA-48 EL).
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
