"""`bentod run`: tor's facts, sandboxes, entrances, in this order; and back in the other one."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from typing import TYPE_CHECKING

from bento.box import leftovers
from bento.box.beside import Beside
from bento.box.conclaves import Conclaves
from bento.box.door import Door
from bento.box.entrance import Entrance
from bento.box.functions_tor import FunctionsTor
from bento.box.guard import Guard
from bento.box.identity import load_or_create
from bento.box.instances import Instances
from bento.box.ledger import MemoryLedger
from bento.box.offer import make_offer
from bento.box.operator_door import OperatorDoor
from bento.box.orders import Orders
from bento.box.sandboxes import Sandboxes
from bento.box.tokens import Tokens
from bento.box.turnstile import Turnstile
from bento.safelog import Event, log

if TYPE_CHECKING:
    from bento.box.config import Config

_DESCRIPTORS = 1 << 16  # 20 instances with all their connections need 5,200


async def serve(config: Config) -> None:
    """Runs the box until SIGTERM or SIGINT. Raises BentoError when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        await _start(config, stack)
        ready = config.run / "ready"
        ready.touch()
        stack.callback(ready.unlink, missing_ok=True)
        log(Event.OPEN)
        await stop.wait()
        log(Event.CLOSING)


async def _start(config: Config, stack: contextlib.AsyncExitStack) -> None:
    _allow_many_descriptors()
    config.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = load_or_create(config.state)
    await leftovers.sweep(config.run)
    functions_tor = FunctionsTor(config)
    stack.push_async_callback(functions_tor.close)
    await functions_tor.start()
    guard = Guard(config, functions_tor)
    stack.callback(guard.close)
    sandboxes = Sandboxes(config)
    stack.push_async_callback(sandboxes.close)
    await sandboxes.start()
    conclaves = Conclaves.of(config, identity)
    offer = make_offer(config, identity, sandboxes.enforcement, conclaves.kinds)
    instances = Instances(
        *(config.run, offer.policy.instances, sandboxes.take, guard.ways, conclaves),
        Tokens(identity.token_key, identity.key_digest),
        MemoryLedger(),
    )
    stack.push_async_callback(instances.close)
    turnstile = Turnstile(offer.policy.instances, instances.taken, priced=config.admission.priced)
    orders = Orders(config.state)
    door = Door(offer, instances, turnstile, orders)
    stack.push_async_callback(door.close)
    operator = OperatorDoor(config.name, instances, orders, door)
    stack.push_async_callback(operator.close)
    await operator.open(config.run)
    onion_socket = config.run / "onion.sock"
    if config.entrance.onion is not None:
        stack.callback(Entrance.unix(onion_socket, door.enter).close)
    beside = Beside(
        config.tor.relay_control,
        config.entrance.onion,
        identity.onion_key,
        onion_socket,
        guard.update,
    )
    stack.push_async_callback(beside.close)
    await beside.start()
    if config.entrance.circuit is not None:
        circuit = config.entrance.circuit
        stack.callback(Entrance.tcp(circuit.address, circuit.port, door.enter).close)


def _allow_many_descriptors() -> None:
    """The usual 1,024 are a handful of functions with their sessions: others could fill them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
