"""`bento balance --merged ADDRESS...`: the words, the start and the table of a merging front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bento.cli import conclave
from bento.cli.output import plain, say
from bento.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from rich.console import RenderableType

    from bento.functions.balancer.merged_home import MergedPlan


def arguments(what: argparse._ActionsContainer, parser: argparse.ArgumentParser) -> None:
    """`what`: the group of what may be served, one of which is chosen."""
    what.add_argument(
        "--merged",
        metavar="ADDRESS",
        nargs="+",
        help="onion services of tors' own, which visitors are spread over at random",
    )
    parser.add_argument(
        "--every",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="with --merged: between two looks at them",
    )


def plan(args: argparse.Namespace) -> MergedPlan:
    """Raises UsageError."""
    from bento.functions.balancer.keys import key_of
    from bento.functions.balancer.merged_home import MergedPlan
    from bento.functions.balancer.merging import addresses_of

    if conclave.trust(args) is not None:
        raise UsageError(
            "a merging front cannot be in a conclave: it shows the service's key to the box's tor",
            "leave --merged or --conclave out",
        )
    if args.standby is not None:
        raise UsageError(
            "a merging front has no standby",
            "it need not: while none is there, visitors find what was published last, for three hours",
        )
    instances = addresses_of(args.merged)
    made = MergedPlan(key_of(args.key), instances, args.lifetime, args.every)
    if not args.json:
        say(f"each instance's ob_config has to say: MasterOnionAddress {made.address}")
    return made


def table(said: dict[str, Any]) -> RenderableType:
    """What a merging front says of itself, for people: nothing of visitors, whom it does not meet."""
    from rich.table import Table

    made = Table(
        title=plain(str(said["address"])),
        caption=f"{said['points']} introduction points, uploaded {said['uploads']} times",
    )
    for name in ("instance", "state", "points", "seconds"):
        made.add_column(name)
    for row in said["replicas"]:
        cells = (row["instance"], row["state"], row["points"], round(row["seconds"]))
        made.add_row(*(plain(str(cell)) for cell in cells))
    return made
