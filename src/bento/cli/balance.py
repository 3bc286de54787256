"""`bento balance`: an onion service that grows over boxes as its visitors need; `status`, `stop`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento.cli import conclave
from bento.cli.output import emit, plain, say, show
from bento.errors import BentoError, BoxError, TorError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import RenderableType

    from bento.client.instance import Instance
    from bento.functions.balancer.fleet import Options
    from bento.functions.balancer.home import Plan, Service
    from bento.functions.balancer.notes import Notes

_EVERY = 2.0  # seconds between two looks
_KEEP_EVERY = 10.0  # seconds between two times that introduction points are kept
_DEFAULT_LIFETIME = 86400


def arguments(parser: argparse.ArgumentParser) -> None:
    from bento.cli.place import time_of

    parser.add_argument("do", nargs="?", choices=("start", "status", "stop"), default="start")
    parser.add_argument(
        "--address", help="of status and stop, where several services run from here"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="HOST:PORT", help="the server that replicas lead to")
    what.add_argument("--files", metavar="DIR", type=Path, help="the files that replicas show")
    parser.add_argument(
        "--replicas", metavar="N", type=int, help="always so many (default: 1 to 4)"
    )
    parser.add_argument("--most", metavar="N", type=int, default=4, help="replicas (default: 4)")
    parser.add_argument(
        "--high", metavar="X", type=float, default=1.0, help="visitors a place that add a replica"
    )
    parser.add_argument(
        "--low", metavar="Y", type=float, default=0.7, help="visitors a place below which one goes"
    )
    parser.add_argument("--limit", metavar="N", type=int, default=0, help="visitors a replica")
    parser.add_argument(
        "--way",
        choices=("load", "random", "weight", "region"),
        default="load",
        help="who goes where",
    )
    parser.add_argument(
        "--key", metavar="DIR", type=Path, help="where the key is kept, or made (as tor keeps it)"
    )
    parser.add_argument("--box", help="where the front goes; default: any")
    parser.add_argument("--detach", action="store_true", help="leave it alone once it serves")
    parser.add_argument("--lifetime", metavar="TIME", type=time_of, default=_DEFAULT_LIFETIME)
    conclave.arguments(parser)


def run(args: argparse.Namespace) -> int:
    return {"start": _start, "status": _status, "stop": _stop}[args.do](args)


# -- start -------------------------------------------------------------------------------------------


def _start(args: argparse.Namespace) -> int:
    plan = _plan(args)
    try:
        asyncio.run(_serve(args, plan))
    except KeyboardInterrupt:
        if not args.json:
            say("ended; nothing of it is left on the boxes")
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    from bento.functions.balancer import site
    from bento.functions.balancer.home import Plan
    from bento.functions.balancer.keys import key_of, points_of

    if args.files is not None:
        kind, content = site.FILES, site.pack_folder(args.files)
    elif args.to is not None:
        kind, content = site.ORIGIN, str(site.parse_origin(args.to)).encode()
    else:
        raise UsageError("what is to be served?", "bento balance --files DIR, or --to HOST:PORT")
    key, points = key_of(args.key), points_of(args.key)
    return Plan(key, points, kind, content, _options(args), args.lifetime)


def _options(args: argparse.Namespace) -> Options:
    from bento.functions.balancer.fleet import Options

    least, most = (1, args.most) if args.replicas is None else (args.replicas, args.replicas)
    try:
        return Options(least, most, high=args.high, low=args.low, limit=args.limit, way=args.way)
    except ValueError as error:
        raise UsageError(str(error), "bento balance --help") from None


async def _serve(args: argparse.Namespace, plan: Plan) -> None:
    """With --detach the service goes on by itself; without, it ends with this command."""
    from bento.face import network
    from bento.functions.balancer import home
    from bento.functions.balancer.notes import Notes

    notes = Notes.of(plan.address)
    fronts: list[Instance] = []
    done = False
    async with (
        network(progress=None if args.json else say) as net,
        contextlib.AsyncExitStack() as stack,
    ):
        try:
            box = await stack.enter_async_context(await net.box(args.box))
            service = await home.begin(box, plan, conclave.trust(args), await net.boxes())
            fronts.append(service.front)
            notes.write(service.address, fronts)
            await home.published(service)
            await _all_ready(service.front, args.replicas or 1)
            await _keep(args, service.front)
            _announce(args, service)
            if not args.detach:
                await _stay(args, service, notes)
            done = args.detach
        finally:
            if not done:
                notes.forget()
                for front in fronts:
                    with contextlib.suppress(BentoError, OSError):
                        await front.shutdown()


async def _all_ready(front: Instance, wanted: int) -> None:
    from bento.functions.balancer import home

    while sum(r["state"] == "ready" for r in (await home.status(front))["replicas"]) < wanted:  # noqa: ASYNC110
        await asyncio.sleep(_EVERY / 4)


def _announce(args: argparse.Namespace, service: Service) -> None:
    if args.json:
        emit(address=service.address)
        return
    show(service.address)
    say("it goes on by itself" if args.detach else "Ctrl-C ends it")


async def _stay(args: argparse.Namespace, service: Service, notes: Notes) -> None:
    """The table, and the points kept, until the service ends; `bento balance stop` takes its notes away."""
    jobs = [
        asyncio.ensure_future(_watch(service.front, quiet=args.json)),
        asyncio.ensure_future(_keep_always(args, service.front)),
    ]
    try:
        async for _ in service.session:
            pass
    except BoxError:
        if notes.exist:
            raise
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def _keep_always(args: argparse.Namespace, front: Instance) -> None:
    while True:
        await asyncio.sleep(_KEEP_EVERY)
        await _keep(args, front)


async def _keep(args: argparse.Namespace, front: Instance) -> None:
    """The introduction points beside the key, if there is a folder for it."""
    from bento.functions.balancer import home
    from bento.functions.balancer.keys import keep_points

    if args.key is not None:
        keep_points(args.key, await home.points(front))


# -- status, stop ------------------------------------------------------------------------------------


def _status(args: argparse.Namespace) -> int:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_look(args))
    return 0


async def _look(args: argparse.Namespace) -> None:
    from bento.functions.balancer import home

    async with _fronts(args) as (fronts, _):
        front = await _serving(fronts)
        said = await home.status(front)
        if args.json:
            emit(**said)
        elif not await _watch(front, quiet=False):
            from rich.console import Console

            Console(width=100).print(table(said))


async def _serving(fronts: list[Instance]) -> Instance:
    """The one that answers. Raises the last one's error."""
    from bento.functions.balancer import home

    for front in fronts[:-1]:
        with contextlib.suppress(BentoError):
            await home.status(front)
            return front
    return fronts[-1]


def _stop(args: argparse.Namespace) -> int:
    asyncio.run(_end(args))
    return 0


async def _end(args: argparse.Namespace) -> None:
    from bento.functions.balancer import home
    from bento.functions.balancer.notes import Notes

    notes = Notes.find(args.address)
    said: dict[str, Any] = {}
    async with _fronts(args) as (fronts, address):
        notes.forget()
        for front in reversed(fronts):
            with contextlib.suppress(BentoError):
                said = await home.status(front)
                await _keep(args, front)
                await home.stop(front)
            with contextlib.suppress(BoxError):  # it may have ended by itself
                await front.shutdown()
    seconds = said.get("replica_seconds")
    if args.json:
        emit(address=address, ended=True, replica_seconds=seconds)
    else:
        say(f"{address} has ended; its replicas ran for {seconds} s in all")


@contextlib.asynccontextmanager
async def _fronts(args: argparse.Namespace) -> AsyncIterator[tuple[list[Instance], str]]:
    from bento.client.owners import recall
    from bento.face import network
    from bento.functions.balancer.notes import Notes

    known, tickets = Notes.find(args.address).read()
    async with network() as net, contextlib.AsyncExitStack() as stack:
        fronts: list[Instance] = []
        for ticket, shutdown in tickets:
            with contextlib.suppress(TorError):  # its box may be away
                box = await stack.enter_async_context(await net.box_of(ticket.box))
                trust = conclave.trust_of(args, ticket)
                front = box.instance(ticket, recall(ticket), trust)
                front.shutdown_ticket = shutdown
                fronts.append(front)
        if not fronts:
            raise BoxError("no front's box is in the network now", "try again later")
        yield fronts, known


# -- the table ---------------------------------------------------------------------------------------


async def _watch(front: Instance, *, quiet: bool) -> bool:
    """Shows what goes on for as long as somebody looks; False when nobody can."""
    from rich.console import Console
    from rich.live import Live

    from bento.functions.balancer import home

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return False
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(table(await home.status(front)), refresh=True)
            await asyncio.sleep(_EVERY)


def table(said: dict[str, Any]) -> RenderableType:
    """What a front says of itself, for people."""
    from rich.table import Table

    made = Table(
        title=plain(str(said["address"])),
        caption=f"{said['visitors']} visitors so far, {said['waiting']} waiting, "
        f"{said['given_up']} given up; {said['replica_seconds']} replica-seconds",
    )
    for name in ("replica", "state", "region"):
        made.add_column(name)
    for name in ("clients", "places", "KB/s", "served", "seconds"):
        made.add_column(name, justify="right")
    for row in said["replicas"]:
        cells = (row["number"], row["state"], row["region"], row["clients"], row["places"])
        numbers = (round(row["rate"] / 1000), row["served"], round(row["seconds"]))
        made.add_row(*(plain(str(cell)) for cell in (*cells, *numbers)))
    return made
