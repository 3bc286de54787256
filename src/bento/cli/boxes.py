"""`bento boxes`: what there is, from each box's own signed policy."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from bento.cli.output import emit, say, show

if TYPE_CHECKING:
    from bento.client.finder import BoxReport


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--refresh", action="store_true", help="do not use the cached list")


def run(args: argparse.Namespace) -> int:
    reports = asyncio.run(_boxes(args))
    for report in sorted(reports, key=lambda report: report.entry.nickname):
        if args.json:
            _emit(report)
        else:
            _print(report)
    if not reports:
        say("no relay of this network announces a box")
    return 0


async def _boxes(args: argparse.Namespace) -> list[BoxReport]:
    from bento.face import network

    async with network(progress=None if args.json else say) as found:
        return await found.report(refresh=args.refresh)


def _emit(report: BoxReport) -> None:
    from dataclasses import asdict

    entry = report.entry
    policy = asdict(report.greeting.policy) if report.greeting else None
    emit(
        name=entry.nickname,
        fingerprint=entry.fingerprint,
        onion=entry.announcement.onion,
        key=entry.announcement.key,
        load=report.greeting.load if report.greeting else None,
        price=report.greeting.price if report.greeting else None,
        policy=policy,
        problem=report.problem,
    )


def _print(report: BoxReport) -> None:
    from bento.protocol.manifest import show_size
    from bento.protocol.puzzle import effort

    entry = report.entry
    show(f"{entry.nickname}  {entry.fingerprint}")
    if report.greeting is None:
        show(f"    does not answer: {report.problem}")
        return
    policy = report.greeting.policy
    egress = ", ".join(policy.egress) or "no network"
    show(
        f"    load {report.greeting.load} % of {policy.instances} instances; "
        f"a new one costs {effort(report.greeting.price)}"
    )
    show(f"    images {', '.join(policy.images)}; egress {egress} ({policy.egress_via})")
    if policy.relays:
        show("    connects functions to relays' ORPorts")
    if policy.boxes:
        show(f"    functions may have up to {policy.boxes} instances on other boxes")
    if policy.tor:
        show(f"    of tor: {', '.join(policy.tor)}")
    show(
        f"    each at most {show_size(policy.memory)} memory, {policy.cpu:g} cores, "
        f"{show_size(policy.disk)} disk, {policy.lifetime // 3600} h"
    )
    show(
        f"    limits kept by {policy.enforcement}; attestation {', '.join(policy.attestation) or 'none'}"
    )
