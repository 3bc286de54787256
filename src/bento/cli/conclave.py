"""What `run`, `install`, `invoke` and `browse` share about conclaves: three options, one line said."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bento.cli.output import say
from bento.errors import UsageError

if TYPE_CHECKING:
    from bento.client.conclave import Trust
    from bento.conclave.trust import Verdict
    from bento.protocol.ticket import SessionTicket, Ticket


def arguments(parser: argparse.ArgumentParser) -> None:
    """Each of the three asks for a conclave; only what the trust policy accepts is used."""
    parser.add_argument(
        "--conclave", action="store_true", help="run it where the box's operator cannot read it"
    )
    trust_arguments(parser)


def trust_arguments(parser: argparse.ArgumentParser) -> None:
    """Which conclaves are accepted."""
    parser.add_argument(
        "--trust", metavar="POLICY.toml", type=Path, help="your trust policy for conclaves"
    )
    parser.add_argument(
        "--allow-emulated",
        action="store_true",
        help="accept an emulated conclave, WHICH THE OPERATOR CAN READ: for trying things out",
    )


def trust(args: argparse.Namespace) -> Trust | None:
    """The trust these options ask for; None for a function in the open."""
    if not (args.conclave or args.trust or args.allow_emulated):
        return None
    return given_trust(args)


def trust_of(args: argparse.Namespace, line: Ticket | SessionTicket) -> Trust | None:
    """The same for a ticket, which says whether a conclave is meant. Raises UsageError."""
    return trust_if(args, line.NOUN, enclosed=bool(line.pin))


def trust_if(args: argparse.Namespace, noun: str, *, enclosed: bool) -> Trust | None:
    """The trust for what a line called `noun` names, `enclosed` in a conclave or not. Raises UsageError."""
    if enclosed:
        return given_trust(args)
    if args.trust or args.allow_emulated:
        raise UsageError(
            f"this {noun} is for a function in no conclave", "its box can read all it does"
        )
    return None


def given_trust(args: argparse.Namespace) -> Trust:
    """The trust that --trust and --allow-emulated describe."""
    from bento import face

    return face.trust(args.trust, allow_emulated=args.allow_emulated, tell=_Teller())


class _Teller:
    """Says each verdict once: every connection is attested anew."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, verdict: Verdict) -> None:
        if verdict.summary not in self._said:
            self._said.add(verdict.summary)
            say(f"conclave: {verdict.summary}")
