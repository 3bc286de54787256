"""`bento balance`: an onion service that grows over boxes as its visitors need; `status`, `stop`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento.cli import balance_merged, conclave
from bento.cli.output import emit, plain, say, show
from bento.errors import BentoError, BoxError, TorError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import RenderableType

    from bento.client.box import Box
    from bento.client.finder import Finder
    from bento.client.instance import Instance
    from bento.functions.balancer.fleet import Options
    from bento.functions.balancer.home import Plan, Service
    from bento.functions.balancer.merged_home import MergedPlan
    from bento.functions.balancer.notes import Notes

_EVERY = 2.0  # seconds between two looks
_KEEP_EVERY = 10.0  # seconds between two times that introduction points are kept
_ANSWER_SECONDS = 30.0  # for which a front is asked anything
_MOST_GRACE = 600  # seconds, as `functions.balancer.front_main` has it
_DEFAULT_LIFETIME = 86400


def arguments(parser: argparse.ArgumentParser) -> None:
    from bento.cli.place import time_of

    parser.add_argument("do", nargs="?", choices=("start", "status", "stop"), default="start")
    parser.add_argument(
        "--address", help="of status and stop, where several services run from here"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="HOST:PORT", help="the server that replicas lead to")
    balance_merged.arguments(what, parser)
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
        "--wait",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="so long a visitor waits for a place of its own before it shares one (for downloads)",
    )
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
    parser.add_argument(
        "--standby",
        metavar="SECONDS",
        nargs="?",
        type=float,
        const=10.0,
        help="a second front, on another box, that serves when the first is silent for so long "
        "(default: 10)",
    )
    parser.add_argument("--standby-box", metavar="BOX", help="where that goes; default: any other")
    parser.add_argument("--detach", action="store_true", help="leave it alone once it serves")
    parser.add_argument("--lifetime", metavar="TIME", type=time_of, default=_DEFAULT_LIFETIME)
    conclave.arguments(parser)


def run(args: argparse.Namespace) -> int:
    return {"start": _start, "status": _status, "stop": _stop}[args.do](args)


# -- start -------------------------------------------------------------------------------------------


def _start(args: argparse.Namespace) -> int:
    plan = balance_merged.plan(args) if args.merged else _plan(args)
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
    if args.standby is not None and not 1 <= args.standby <= _MOST_GRACE:
        raise UsageError(
            f"a standby waits 1 to {_MOST_GRACE} seconds", "10 is a good number: --standby alone"
        )
    if args.standby is not None and args.conclave:
        raise UsageError(
            "a front in a conclave has no standby", "another function cannot verify its evidence"
        )
    key, points = key_of(args.key), points_of(args.key)
    return Plan(key, points, kind, content, _options(args), args.lifetime)


def _options(args: argparse.Namespace) -> Options:
    from bento.functions.balancer.fleet import Options

    least, most = (1, args.most) if args.replicas is None else (args.replicas, args.replicas)
    try:
        return Options(
            *(least, most, args.high, args.low),
            limit=args.limit,
            wait=args.wait,
            way=args.way,
        )
    except ValueError as error:
        raise UsageError(str(error), "bento balance --help") from None


async def _serve(args: argparse.Namespace, plan: Plan | MergedPlan) -> None:
    """With --detach the service goes on by itself; without, it ends with this command."""
    from bento.face import network
    from bento.functions.balancer import home, merged_home
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
            if isinstance(plan, home.Plan):
                service = await home.begin(box, plan, conclave.trust(args), await net.boxes())
            else:
                service = await merged_home.begin(box, plan)
            fronts.append(service.front)
            notes.write(service.address, fronts)
            await home.published(service)
            await _all_ready(service.front, args.replicas or 1)
            await _keep(args, service.front)
            services = [service]
            if isinstance(plan, home.Plan) and args.standby is not None:
                other = await stack.enter_async_context(await _other_box(net, args, box))
                services.append(await home.stand_by(other, plan, service.front, args.standby))
                fronts.append(services[-1].front)
                notes.write(service.address, fronts)
            _announce(args, service)
            if not args.detach:
                await _stay(args, services, notes)
            done = args.detach
        finally:
            if not done:
                notes.forget()
                for front in fronts:
                    with contextlib.suppress(BentoError, OSError):
                        await front.shutdown()


async def _other_box(net: Finder, args: argparse.Namespace, first: Box) -> Box:
    """For the standby, which must not be gone together with the first."""
    import secrets

    own = first.name.fingerprint
    others = [entry.fingerprint for entry in await net.boxes() if entry.fingerprint != own]
    if not others:
        raise BoxError("there is no other box for a standby", "bento boxes lists those there are")
    box = await net.box(args.standby_box or secrets.choice(others))
    if box.name.fingerprint == own:
        await box.close()
        raise UsageError("the standby's box is the front's own", "name another one")
    return box


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


async def _stay(args: argparse.Namespace, services: list[Service], notes: Notes) -> None:
    """Until the service ends, wherever it runs; `bento balance stop` takes its notes away."""
    *first, last = services
    for service in first:
        with contextlib.suppress(BoxError):
            await _attend(args, service)
        if not notes.exist:
            return
        if not args.json:
            say("the first front is out of reach; the standby serves when it is gone")
    try:
        await _attend(args, last)
    except BoxError:
        if notes.exist:
            raise


async def _attend(args: argparse.Namespace, service: Service) -> None:
    """The table, and the points kept, until this front ends. Raises BoxError when it is gone."""
    jobs = [
        asyncio.ensure_future(_watch(service.front, quiet=args.json)),
        asyncio.ensure_future(_keep_always(args, service.front)),
    ]
    try:
        async for _ in service.session:
            pass
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

    if args.key is not None and (points := await home.points(front)):
        keep_points(args.key, points)


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
    """The first to say that it serves: one out of reach is not waited for. Raises what one of them did."""
    from bento.functions.balancer import home

    asked = {asyncio.ensure_future(home.status(front)): front for front in fronts}
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await _first(asked)
    except TimeoutError:
        raise BoxError("no front answers", "try again later") from None
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _first(asked: dict[asyncio.Task[dict[str, Any]], Instance]) -> Instance:
    waiting = set(asked)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in done if task.exception() is not None]
        for task in done - set(failed):
            return asked[task]
        if not waiting:
            failed[0].result()


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
            with contextlib.suppress(BentoError, TimeoutError):  # it stands by, or is away
                async with asyncio.timeout(_ANSWER_SECONDS):
                    said = await home.status(front)
                    await _keep(args, front)
                    await home.stop(front)
            with contextlib.suppress(BoxError, TorError, TimeoutError):  # it has ended, or is away
                async with asyncio.timeout(_ANSWER_SECONDS):
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
            with contextlib.suppress(BoxError, TorError):  # its box may be away
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

    if said.get("way") == "merged":
        return balance_merged.table(said)
    made = Table(
        title=plain(str(said["address"])),
        caption=f"{said['visitors']} visitors so far, {said['waiting']} waiting, "
        f"{said['given_up']} given up; {said['replica_seconds']} replica-seconds"
        + ("; a standby follows" if said.get("standby") else ""),
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
