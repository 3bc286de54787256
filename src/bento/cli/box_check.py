"""`bentod check`: every layer and line a box relies on, all problems in one run."""

from __future__ import annotations

import argparse
from itertools import groupby
from typing import TYPE_CHECKING

from bento.cli.output import emit

if TYPE_CHECKING:
    from bento.box.checkup import Finding, Report

_MARKS = {"present": "ok", "missing": "MISSING", "untestable": "?"}


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Nothing but what all commands have."""


def run(args: argparse.Namespace) -> int:
    import asyncio

    from bento.box.checkup import check_up

    report = asyncio.run(check_up(args.config))
    if args.json:
        emit(
            ok=report.ok,
            torrc=report.torrc,
            findings=[
                {
                    "area": finding.area,
                    "name": finding.name,
                    "state": finding.state.value,
                    "accepted": finding.accepted,
                    "detail": finding.detail,
                }
                for finding in report.findings
            ],
        )
    else:
        _print(report)
    return 0 if report.ok else 1


def _print(report: Report) -> None:
    for area, findings in groupby(report.findings, lambda finding: finding.area):
        print(area)
        for finding in findings:
            print(f"  {_mark(finding):<9} {finding.name}: {finding.detail}")
    if report.torrc:
        print("the relay's torrc needs")
        for line in report.torrc:
            print(f"  {line}")
    problems = sum(finding.is_problem for finding in report.findings)
    print(f"{problems} problems" if problems else "this box can be run")


def _mark(finding: Finding) -> str:
    return (
        "accepted" if finding.accepted and not finding.is_problem else _MARKS[finding.state.value]
    )
