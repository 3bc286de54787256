"""`bento attest BOX`, `bento attest --file EVIDENCE`: a verdict in full; exit 0 only if it accepts."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING

from bento.cli import conclave
from bento.cli.calls import read_upload
from bento.cli.output import emit, say, show
from bento.errors import AttestationError, UsageError

if TYPE_CHECKING:
    from bento.conclave.trust import Verdict

_KINDS = ("sgx", "tdx", "snp", "tpm", "emulated")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "box", metavar="BOX", nargs="?", help="nickname, fingerprint or onion address"
    )
    parser.add_argument("--file", metavar="EVIDENCE", help="judge a file instead of a box")
    parser.add_argument(
        "--collateral", metavar="FILE", help="Intel's collateral (JSON), or AMD's revocation list"
    )
    parser.add_argument(
        "--certs", metavar="FILE", nargs="+", default=[], help="the endorsement key's certificate"
    )
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="judge as at 2026-03-01 or 2026-03-01T12:00 (UTC); default: now",
    )
    parser.add_argument("--kind", choices=_KINDS, help="where a file alone does not tell")
    conclave.trust_arguments(parser)
    parser.add_argument("--entrance", choices=("circuit", "onion"), help="how to reach the box")


def run(args: argparse.Namespace) -> int:
    if bool(args.box) == bool(args.file):
        raise UsageError("name a box, or --file EVIDENCE", "bento boxes lists the boxes")
    verdict = _file(args) if args.file else asyncio.run(_box(args))
    if args.json:
        emit(
            accepted=verdict.accepted,
            summary=verdict.summary,
            facts=dict(verdict.facts),
            refusals=[{"line": each.line, "reason": each.reason} for each in verdict.refusals],
        )
    else:
        _show(verdict)
    return 0 if verdict.accepted else AttestationError.exit_status


async def _box(args: argparse.Namespace) -> Verdict:
    from bento.face import connect

    trust = conclave.given_trust(args)
    progress = None if args.json else say
    async with connect(args.box, entrance=args.entrance, progress=progress) as box:
        return await box.attest(trust)


def _file(args: argparse.Namespace) -> Verdict:
    from bento.client.conclave import published
    from bento.conclave.claims import Kind
    from bento.conclave.kit import judge_files

    trust = conclave.given_trust(args)
    _, verdict = judge_files(
        trust.policy,
        read_upload(args.file),
        read_upload(args.collateral) if args.collateral else None,
        [read_upload(path) for path in args.certs],
        now=_seconds(args.at) if args.at else int(time.time()),
        kind=Kind(args.kind) if args.kind else None,
        roots=trust.roots,
        published=published(),
    )
    return verdict


def _seconds(text: str) -> int:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", "write it as 2026-03-01 or 2026-03-01T12:00"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _show(verdict: Verdict) -> None:
    width = max(len(name) for name, _ in verdict.facts)
    for name, value in verdict.facts:
        show(f"{name:{width}}  {value}")
    show("")
    show(verdict.summary)
    for refusal in verdict.refusals:
        show(f"refused: {refusal}")
    show("your trust policy accepts it" if verdict.accepted else "your trust policy refuses it")
