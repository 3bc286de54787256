"""`bentod kill ID`, `block HASH`, `unblock HASH`, `drain`: orders to the bentod that runs."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from bento.cli.output import emit, say

if TYPE_CHECKING:
    from pathlib import Path

    from bento.box.operator_messages import Answer, Do, Done

_POLL = 0.5  # seconds between two looks while waiting for the last instance


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    if command == "kill":
        parser.add_argument("name", metavar="ID", help="an instance, or how its id begins")
    elif command in ("block", "unblock"):
        parser.add_argument(
            "name", metavar="HASH", help="the SHA-256 of the function, 64 hex digits"
        )
    else:
        parser.add_argument("--off", action="store_true", help="take new functions again")
        parser.add_argument(
            "--wait", action="store_true", help="return when the last one has ended"
        )


def run(args: argparse.Namespace) -> int:
    do: Do = "resume" if args.command == "drain" and args.off else args.command
    done = ask(args.config, do, getattr(args, "name", "")).done
    assert done is not None
    while getattr(args, "wait", False) and done.running:
        time.sleep(_POLL)
        answer = ask(args.config, "drain").done
        assert answer is not None
        done = answer
    if args.json:
        emit(ended=done.ended, running=done.running)
    else:
        say(_told(do, done))
    return 0


def _told(do: str, done: Done) -> str:
    what = {
        "kill": "ended",
        "block": f"blocked; {done.ended} instances ended",
        "unblock": "allowed again",
        "drain": "no new functions are taken until `bentod drain --off` or a restart",
        "resume": "new functions are taken again",
    }[do]
    return f"{what}; {done.running} instances run"


def ask(config: Path, do: Do, name: str = "") -> Answer:
    """The answer of the bentod that runs with this configuration file. Raises BentoError."""
    import socket

    import msgspec

    from bento.box.config import load
    from bento.box.operator_door import SOCKET
    from bento.box.operator_messages import Answer, Ask
    from bento.errors import KINDS, BentoError, HostError

    path = load(config).run / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
            sock.sendall(msgspec.json.encode(Ask(do, name)) + b"\n")
            line = sock.makefile("rb").readline()
        except OSError as error:
            raise HostError(
                f"no bentod answers at {path}: {error.strerror}", "start it, as the same user"
            ) from None
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.DecodeError:
        raise HostError("bentod ended before it answered", "look at its log") from None
    if answer.failure is not None:
        failure = answer.failure
        raise KINDS.get(failure.kind, BentoError)(failure.detail, failure.hint)
    return answer
