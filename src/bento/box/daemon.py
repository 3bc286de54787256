"""`bentod run`: what an earlier one left, sandboxes, tor's facts, entrances, in this order; and back
in the other one.

SIGTERM, which service managers send, stops bentod alone: instances run on, and the next bentod takes
them over, so that an upgrade costs nobody anything. SIGINT (Ctrl-C) ends the instances too. Whoever
takes a box away for good sends SIGINT: an instance that nobody serves is of no use and not seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from bento.box import sweep
from bento.box.beside import Beside
from bento.box.conclaves import Conclaves
from bento.box.door import Door
from bento.box.entrance import Entrance
from bento.box.functions_tor import FunctionsTor
from bento.box.guard import Guard
from bento.box.identity import load_or_create
from bento.box.instances import Instances
from bento.box.journal import Journal
from bento.box.ledger import JournalLedger
from bento.box.metrics import Board, MetricsServer, measure
from bento.box.neighbours import Neighbours
from bento.box.offer import make_offer
from bento.box.operator_door import OperatorDoor
from bento.box.orders import Orders
from bento.box.sandboxes import Sandboxes
from bento.box.tokens import Tokens
from bento.box.turnstile import Turnstile
from bento.box.uplink import Uplink
from bento.box.visits import Visits
from bento.safelog import Event, log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bento.box.config import Config

_DESCRIPTORS = 1 << 16  # 20 instances with all their connections need 5,200


async def serve(config: Config) -> None:
    """Runs the box until SIGTERM or SIGINT. Raises BentoError when it cannot start; what ran before
    runs on then."""
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.put_nowait, number)
    async with contextlib.AsyncExitStack() as stack:
        instances = await _start(config, stack)
        ready = config.run / "ready"
        ready.touch()
        stack.callback(ready.unlink, missing_ok=True)
        log(Event.OPEN)
        instances.keep = await asked.get() != signal.SIGINT
        log(Event.CLOSING)


async def _start(config: Config, stack: contextlib.AsyncExitStack) -> Instances:
    _allow_many_descriptors()
    config.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = load_or_create(config.state)
    journal = Journal.open(config.state / "journal.db")
    stack.push_async_callback(journal.close)
    left = await journal.entries()
    groups = sweep.sweep(config.run, left)
    functions_tor = FunctionsTor(config)
    stack.push_async_callback(functions_tor.close)
    neighbours = Neighbours(config.tor.relay_control, functions_tor)
    guard = Guard(config, functions_tor, neighbours)
    stack.callback(guard.close)
    sandboxes = Sandboxes(config)
    stack.push_async_callback(sandboxes.close)
    conclaves = Conclaves.of(config, identity, functions_tor.socks)
    stack.push_async_callback(conclaves.close)
    conclaves.start()
    uplink = Uplink.of(config)
    stack.callback(uplink.close)
    tokens = Tokens(identity.token_key, identity.key_digest)
    instances = Instances(
        *(journal, config.run, config.capacity.instances),
        *(sandboxes.take, guard.ways, conclaves),
        *(tokens, uplink),
    )
    stack.push_async_callback(instances.close)

    async def go_on() -> None:
        await functions_tor.start()
        await instances.take_over(left)

    await _together(sweep.end(groups), go_on(), sandboxes.start())
    offer = make_offer(config, identity, sandboxes.enforcement, conclaves.kinds)
    turnstile = Turnstile.of(config, identity, instances.taken, instances.promised)
    stack.callback(turnstile.close)
    orders = Orders(config.state)
    visits = Visits(instances, tokens, JournalLedger(journal))
    door = Door(offer, instances, visits, turnstile, orders, identity)
    stack.push_async_callback(door.close)
    operator = OperatorDoor(config.name, instances, orders, door)
    stack.push_async_callback(operator.close)
    await operator.open(config.run)
    if config.metrics is not None:
        metrics = MetricsServer(Board(partial(measure, instances, sandboxes, door)))
        stack.push_async_callback(metrics.close)
        await metrics.open(config.metrics.listen)
    onion_socket = config.run / "onion.sock"
    if config.entrance.onion is not None:
        stack.callback(Entrance.unix(onion_socket, door.enter).close)
    beside = Beside(
        config.tor.relay_control,
        config.entrance.onion,
        identity.onion_key,
        onion_socket,
        guard.update,
        guard.listed if config.egress.relays else None,
    )
    stack.push_async_callback(beside.close)
    await beside.start()
    if config.entrance.circuit is not None:
        circuit = config.entrance.circuit
        stack.callback(Entrance.tcp(circuit.address, circuit.port, door.enter).close)
    return instances


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """All of them at once: a start waits for the longest. The first that fails ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _allow_many_descriptors() -> None:
    """The usual 1,024 are a handful of functions with their sessions: others could fill them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
