"""`bentod policy`: what this box offers, in plain words; `explain FILE`: what a function would get."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bento.cli.output import emit, say

if TYPE_CHECKING:
    from bento.protocol.manifest import Manifest
    from bento.protocol.policy import Policy


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    actions = parser.add_subparsers(dest="action", metavar="explain FILE")
    explain = actions.add_parser("explain", help="what a function would get here, or why not")
    explain.add_argument("file", metavar="FILE", help="a function: a Python file or a zip")
    explain.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def run(args: argparse.Namespace) -> int:
    from bento.box.config import load

    policy = _policy(load(args.config))
    if args.action == "explain":
        from bento.cli.calls import read_upload
        from bento.protocol.manifest import Manifest, manifest_text

        manifest = Manifest.parse(manifest_text(read_upload(args.file)))
        return _explain(args, manifest, policy)
    from bento.box.plain_words import describe

    if args.json:
        from dataclasses import asdict

        emit(**asdict(policy))
    else:
        _print(describe(policy))
    return 0


def _explain(args: argparse.Namespace, manifest: Manifest, policy: Policy) -> int:
    from bento.box.admission import problems
    from bento.box.plain_words import granted
    from bento.errors import PolicyError

    found = problems(manifest, policy)
    if args.json:
        from dataclasses import asdict

        emit(admitted=not found, problems=found, manifest=asdict(manifest))
    elif found:
        say(f"{args.file} would be refused:")
        for problem in found:
            print(f"  - {problem}")
    else:
        say(f"{args.file} would be taken, and get:")
        _print(granted(manifest, policy))
    return PolicyError.exit_status if found else 0


def _print(lines: list[tuple[str, str]]) -> None:
    before = ""
    for what, holds in lines:
        print(f"  {what if what != before else '':<12} {holds}")
        before = what


def _policy(config: object) -> Policy:
    """As bentod would sign it now, without starting anything."""
    from bento.box.config import Config
    from bento.box.offer import make_policy
    from bento.sandbox.hierarchies import WANTED, ours

    assert isinstance(config, Config)
    controllers = {controller for home in ours() for controller in home.controllers}
    kept = "cgroup" if controllers >= WANTED else "rlimit"
    attester = config.conclave.attester
    return make_policy(config, kept, () if attester == "none" else (attester,))
