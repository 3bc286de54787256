"""Circuits whose last relay we choose, and streams on them.

Tor chooses its own circuits for streams; a box must be the last hop of its visitors' circuits. So
this takes the choice over, on a tor that is ours: `__LeaveStreamsUnattached` makes every new
stream wait, and each stream that we open carries a SOCKS user name that only we know, by which its
event is found and the stream attached (`streams.py`).

    build():        plan a path -> EXTENDCIRCUIT -> CIRC BUILT
    open_stream():  SOCKS request + early bytes -> STREAM NEW -> ATTACHSTREAM -> SUCCEEDED
                                                   DETACHED -> CLOSESTREAM, and the reason raised

Several managers, also in several processes, can share one tor: each one has a random prefix for
its user names and looks at nothing else. The option is therefore never set back, and streams that
no manager opened wait in vain on such a tor: use `CircuitManager.open_stream` for them.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from bento.errors import TorError
from bento.tor.control_codec import Event, Reply
from bento.tor.controller import CommandRefused, Controller, Subscription
from bento.tor.planner import PathPlanner
from bento.tor.reasons import circuit_failure
from bento.tor.socks import Stream
from bento.tor.streams import Lane, StreamAttacher

ATTEMPTS = 4  # paths tried for one circuit
# Tor refuses relays whose descriptor it lacks: for a moment, while it gets another kind of them.
_REFUSED_PAUSE = 0.5  # seconds


class Circuit:
    """A circuit. `closed` is done when it has ended: with None after `close`, else with the
    TorError that says why. `id` is tor's number for it, `path` the fingerprints of its relays.

    Tor ends a circuit without streams ten minutes after its last one (MaxCircuitDirtiness)."""

    def __init__(self, manager: CircuitManager, path: tuple[str, ...]) -> None:
        self.id = ""
        self.path = path
        self.closed: asyncio.Future[TorError | None] = asyncio.get_running_loop().create_future()
        self._manager = manager
        self._built: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lane: Lane | None = None  # from EXTENDCIRCUIT's answer on
        self._left_the_guard = False

    async def open_stream(self, host: str, port: int, early: bytes = b"") -> Stream:
        """A stream to `host:port` as the last relay reaches it; `early` goes with the request.

        Raises TorError with the reason if the relay refuses, or the circuit ends meanwhile."""
        if self.closed.done():
            raise self.closed.result() or TorError("the circuit is closed", "build another one")
        assert self._lane is not None
        return await self._manager._streams.open(self._lane, host, port, early)

    async def close(self) -> None:
        """End the circuit and its streams."""
        await self._manager._close(self)

    def _hear(self, event: Event) -> TorError | None:
        """Take a CIRC event; returns the reason if it is the end."""
        # The hops that were reached stand in the event.
        self._left_the_guard |= len(event.positional) > 2
        status = event.positional[1]
        if status == "BUILT" and not self._built.done():
            self._built.set_result(None)
        if status not in ("FAILED", "CLOSED"):
            return None
        built = self._built.done()
        what = "the circuit ended" if built else "no circuit to the relay could be built"
        return circuit_failure(what, event.keywords)


class CircuitManager:
    """Builds circuits on a tor of our own, whose SOCKS port is at `socks_proxy`.

    `distinct_subnets`: whether two hops of a path may not share a /16; None: as tor is told.
    The controller stays the caller's; it must be open for as long as the manager is used."""

    def __init__(
        self,
        controller: Controller,
        socks_proxy: str,
        *,
        distinct_subnets: bool | None = None,
        attempts: int = ATTEMPTS,
        rng: random.Random | None = None,
    ) -> None:
        self._controller = controller
        self._planner = PathPlanner(controller, distinct_subnets=distinct_subnets, rng=rng)
        self._streams = StreamAttacher(controller, socks_proxy)
        self._attempts = attempts
        self._circuits: dict[str, Circuit] = {}
        self._subscription: Subscription | None = None
        self._preparing = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> CircuitManager:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def build(self, last_hop_fingerprint: str) -> Circuit:
        """A new three-hop circuit that ends at this relay.

        Tries other middles, and another guard if the first one was not reached, a bounded number
        of times. No time limit of its own. Raises TorError with the last failure's reason."""
        await self._prepare()
        avoided: set[str] = set()
        bad_guards: set[str] = set()
        failure = TorError("no circuit was tried")
        for _ in range(self._attempts):
            path = await self._planner.plan(
                last_hop_fingerprint, avoided=avoided, bad_guards=bad_guards
            )
            try:
                return await self._launch(path)
            except _LaunchFailed as failed:
                failure = failed.reason
                avoided.add(path[1])
                if failed.refused:
                    await asyncio.sleep(_REFUSED_PAUSE)
                # A guard is given up only for its own fault: else a hostile last hop could walk
                # its visitors through all guards.
                if not failed.left_the_guard:
                    bad_guards.add(path[0])
        raise failure

    async def open_stream(
        self, host: str, port: int, early: bytes = b"", *, isolation: str = ""
    ) -> Stream:
        """A stream on a circuit of tor's own choice, as to an onion service.

        Streams of one `isolation` may share a circuit; those of different ones never do."""
        await self._prepare()
        return await self._streams.open_anywhere(host, port, early, isolation)

    async def close(self) -> None:
        """End all circuits of this manager and listen no more."""
        self._closed = True
        for circuit in tuple(self._circuits.values()):
            await self._close(circuit)
        if self._subscription is not None:
            await self._subscription.cancel()
            self._subscription = None

    # -- inside ------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._closed:
                raise TorError("this circuit manager is closed")
            if self._subscription is None:
                await self._controller.set_conf({"__LeaveStreamsUnattached": "1"})
                self._subscription = await self._controller.subscribe(
                    {"CIRC", "STREAM"}, self._hear
                )
                self._controller.closed.add_done_callback(self._lost_tor)

    async def _launch(self, path: tuple[str, ...]) -> Circuit:
        circuit = Circuit(self, path)

        def extended(reply: Reply) -> None:
            # Called before any later event is read, so that no news of the circuit is missed.
            if reply.is_ok:
                circuit.id = _circuit_id(reply)
                circuit._lane = self._streams.add_lane(circuit.id)
                self._circuits[circuit.id] = circuit

        names = ",".join(f"${fingerprint}" for fingerprint in path)
        answer = self._controller.send(f"EXTENDCIRCUIT 0 {names}", on_reply=extended)
        ends: list[asyncio.Future[Any]] = [circuit._built, circuit.closed]
        try:
            # Shielded: even if nobody waits any more, the circuit gets its id, and its end.
            reply = await asyncio.shield(answer)
            if reply.is_ok:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda _: self._abandon(circuit))
            raise
        if not reply.is_ok:
            refusal = CommandRefused("EXTENDCIRCUIT", reply)
            raise _LaunchFailed(refusal, left_the_guard=True, refused=True)
        if circuit.closed.done():
            reason = circuit.closed.result() or TorError("the circuit was closed")
            raise _LaunchFailed(reason, circuit._left_the_guard)
        return circuit

    def _hear(self, event: Event) -> None:
        if event.keyword == "STREAM":
            self._streams.hear(event)
            return
        circuit = self._circuits.get(event.positional[0]) if len(event.positional) >= 2 else None
        if circuit is not None and (reason := circuit._hear(event)):
            self._end(circuit, reason)

    def _end(self, circuit: Circuit, reason: TorError | None) -> None:
        self._circuits.pop(circuit.id, None)
        if circuit.closed.done():
            return
        circuit.closed.set_result(reason)
        if circuit._lane is not None:
            self._streams.remove_lane(circuit._lane, reason or TorError("the circuit was closed"))

    async def _close(self, circuit: Circuit) -> None:
        if circuit.closed.done():
            return
        self._end(circuit, None)
        try:
            await self._controller.command(f"CLOSECIRCUIT {circuit.id}")
        except TorError:
            return  # it is gone, or tor is: both are what was asked for

    def _abandon(self, circuit: Circuit) -> None:
        if circuit.id and not circuit.closed.done():
            self._end(circuit, None)
            self._controller.tell(f"CLOSECIRCUIT {circuit.id}")

    def _lost_tor(self, closed: asyncio.Future[TorError | None]) -> None:
        reason = closed.result() or TorError("the control connection was closed")
        for circuit in tuple(self._circuits.values()):
            self._end(circuit, reason)


class _LaunchFailed(Exception):
    """One try failed. `left_the_guard`: the first hop was reached; `refused`: by our own tor."""

    def __init__(self, reason: TorError, left_the_guard: bool, refused: bool = False) -> None:
        super().__init__(reason.detail)
        self.reason = reason
        self.left_the_guard = left_the_guard
        self.refused = refused


def _circuit_id(reply: Reply) -> str:
    word, _, circuit_id = reply.text.partition(" ")
    if word != "EXTENDED" or not circuit_id.isalnum():
        raise TorError("tor did not answer EXTENDCIRCUIT with a circuit")
    return circuit_id
