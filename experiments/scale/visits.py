"""Visitors of one onion service behind LoadBalancer, second by second, over thousands of relays.

The decisions are those of the real thing: `bento.functions.balancer.fleet`. The network is a fluid.

Assumed, and where it comes from:
- a relay has a fixed part of its consensus weight free for these visitors (`free`, 0.4: the public network
  carries about 60 % of what it advertises, metrics.torproject.org, 2022);
- a visitor's path to its replica has six relays: guard, middle, rendezvous point; middle, middle,
  guard (the replica's circuit), each chosen by weight; a replica has two guards for good;
- one circuit carries `circuit` bytes a second at most (0.45 MB/s: the curves of the paper's figure 5);
- a replica sends `uplink` bytes a second at most, and needs `start` seconds to come up;
- a connection needs `handshake` seconds from the click to the request's arrival, log-normally spread
  (median 1.5 s, sigma 0.5: six relays' round trips four times over), before the first byte;
- an introduction costs the front 0.6 ms of a core (measured for the prototype: 0.25 to 0.6) and each
  introduction point one cell of 514 bytes in and one out.
Not in it: failures, guards under attack, clients' own slow lines, cells queued in relays (so first bytes
come a little early when relays are full).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from bento.functions.balancer.fleet import (
    Action,
    Fleet,
    GiveUp,
    HandOver,
    Load,
    Options,
    Start,
    Stop,
)
from experiments.scale.fluid import Floats, Ints, fair_rates
from experiments.scale.population import Population

FRONT_SECONDS = 0.6e-3
POINTS = 3  # introduction points


@dataclass(frozen=True)
class Plan:
    """`visitors` within `span` seconds, each downloading `size` bytes. Seconds, and bytes a second."""

    visitors: int
    span: float = 600.0
    size: float = 2e6
    spacing: float = 0.0  # exactly this far apart instead of at random within `span`
    uplink: float = 12.5e6
    circuit: float = 0.45e6
    free: float = 0.4
    start: float = 3.0
    handshake: float = 1.5
    step: float = 0.5


@dataclass
class Outcome:
    """Shape (visitors,) each, in seconds from the click; infinite for a visitor that was given up."""

    first_byte: Floats
    completion: Floats
    replicas: int
    replica_seconds: float
    peak_introductions: float  # a second, at the front

    @property
    def front_load(self) -> float:
        """The part of one core that the front needs at its peak."""
        return self.peak_introductions * FRONT_SECONDS

    @property
    def point_bytes(self) -> float:
        """Bytes a second at each introduction point, at the peak."""
        return self.peak_introductions / POINTS * 2 * 514


@dataclass
class _World:
    """What goes on: flows are visitors that were handed to a replica and are not done."""

    plan: Plan
    population: Population
    rng: np.random.Generator
    fleet: Fleet
    arrivals: Floats
    handshakes: Floats
    left: Floats
    replica: Ints
    paths: Ints
    first_byte: Floats
    completion: Floats
    guards: dict[int, Ints] = field(default_factory=dict)  # of each replica, two
    coming: dict[int, float] = field(default_factory=dict)  # replicas that start: when they serve
    joined: dict[int, int] = field(default_factory=dict)
    most: int = 0  # replicas at the same time

    def obey(self, actions: list[Action], now: float) -> None:
        for action in actions:
            if isinstance(action, Start):
                self.coming[action.replica] = now + self.plan.start
                self.joined[action.replica] = 0
                self.guards[action.replica] = self.population.pick(self.rng, 2, guard=True)
                self.most = max(self.most, sum(1 for _ in self.fleet))
            elif isinstance(action, HandOver):
                self._flow(action.visitor, action.replica)
            elif isinstance(action, GiveUp):
                self.left[action.visitor] = 0
            elif isinstance(action, Stop):
                self.coming.pop(action.replica, None)

    def _flow(self, visitor: int, replica: int) -> None:
        own = self.guards[replica][visitor % 2]
        self.paths[visitor, 5:] = own, len(self.population) + replica - 1
        self.replica[visitor] = replica
        self.joined[replica] += 1
        self.fleet.joined(visitor, replica)


def simulate(plan: Plan, options: Options, population: Population, seed: int = 1) -> Outcome:
    """One run, the same for the same `seed`."""
    world = _world(plan, options, population, np.random.default_rng(seed), seed)
    fleet, now, arrived = world.fleet, 0.0, 0
    relays = population.weight * 1e3 * plan.free
    while arrived < plan.visitors or (world.left > 0).any():
        for number in [n for n, at in world.coming.items() if at <= now]:
            del world.coming[number]
            world.obey(fleet.ready(number, now), now)
        while arrived < plan.visitors and world.arrivals[arrived] <= now:
            world.obey(fleet.arrived(arrived, now), now)
            arrived += 1
        uplinks = np.full(len(world.joined), plan.uplink)
        rates = _move(world, np.concatenate([relays, uplinks]), now)
        for replica in fleet:
            if replica.number not in world.coming:
                mine = (world.replica == replica.number) & (world.left > 0)
                load = Load(
                    world.joined[replica.number],
                    int(mine.sum()),
                    float(rates[mine].sum()),
                    plan.uplink,
                    sharing=int(mine.sum()),
                )
                world.obey(fleet.report(replica.number, load, now), now)
        world.obey(fleet.tick(now), now)
        now += plan.step
    peak = np.histogram(world.arrivals, np.arange(0, world.arrivals[-1] + 2))[0].max()
    cost = fleet.replica_seconds(now)
    return Outcome(world.first_byte, world.completion, world.most, cost, float(peak))


def _world(
    plan: Plan, options: Options, population: Population, rng: np.random.Generator, seed: int
) -> _World:
    n = plan.visitors
    arrivals = np.sort(rng.random(n)) * plan.span
    if plan.spacing:
        arrivals = np.arange(n) * plan.spacing
    paths = np.zeros((n, 7), dtype=np.int64)  # six relays, then the replica's uplink
    paths[:, 0] = population.pick(rng, n, guard=True)
    paths[:, 1:5] = population.pick(rng, 4 * n).reshape(n, 4)
    return _World(
        plan=plan,
        population=population,
        rng=rng,
        fleet=Fleet(options, random.Random(seed)),
        arrivals=arrivals,
        handshakes=plan.handshake * np.exp(0.5 * rng.standard_normal(n)),
        left=np.full(n, plan.size),
        replica=np.zeros(n, dtype=np.int64),
        paths=paths,
        first_byte=np.full(n, np.inf),
        completion=np.full(n, np.inf),
    )


def _move(world: _World, capacity: Floats, now: float) -> Floats:
    """One step of every flow whose request has arrived; the rates, shape (visitors,)."""
    plan = world.plan
    asked = np.maximum(world.arrivals + world.handshakes, now - plan.step)
    going = np.flatnonzero((world.replica > 0) & (world.left > 0) & (asked <= now))
    rates = np.zeros(plan.visitors)
    if going.size:
        caps = np.full(going.size, plan.circuit)
        found = fair_rates(capacity, world.paths[going], caps)
        rates[going] = found
        fresh = going[np.isinf(world.first_byte[going])]
        world.first_byte[fresh] = now - world.arrivals[fresh]
        needed = world.left[going] / np.maximum(found, 1e-9)
        done = needed <= plan.step
        world.completion[going[done]] = now + needed[done] - world.arrivals[going[done]]
        world.left[going] = np.where(done, 0, world.left[going] - found * plan.step)
    return rates
