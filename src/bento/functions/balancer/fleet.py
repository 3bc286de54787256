"""Who goes where and how many replicas there are: a machine without I/O, clock or chance of its own.

    what happened                          what to do
    arrived(visitor)                 ->    HandOver(visitor, replica) | Start(replica) | GiveUp(visitor)
    ready / start_failed(replica)    ->    HandOver ... for those who waited
    report(replica, Load)            ->    Start(replica)
    failed(visitor) / died(replica)  ->    HandOver to another, Start
    tick()                           ->    Stop(replica), and what is overdue of all the above

A replica is STARTING -> READY <-> DRAINING -> gone. Draining takes nobody new and is called off when
load comes back; a replica is stopped only when its last open stream has ended, so nobody is cut (unless
that takes longer than DRAINING_SECONDS). A visitor that was handed over belongs to the fleet until the
replica said it joined: until then a failure or a death sends the same record to another replica.

A replica may lie. Whatever it says, it cannot have more visitors than it was given, nor draw more than
FAVOUR of them while others serve, nor keep its place for good once it is to go.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from bento.functions.balancer.choice import WAYS
from bento.functions.balancer.places import UNMEASURED, Meter, places
from bento.functions.balancer.trend import Trend

ATTEMPTS = 3
"""Replicas a visitor is handed to before it is given up: C-tor tries its own circuit three times."""

PATIENCE = 50.0
"""Seconds a visitor may wait for a replica: C-tor clients give a rendezvous up after 60."""

JOIN_SECONDS = 15.0
"""From handing over to the replica's word that it joined; it needs 0.04 s on a local network."""

SILENCE = 10.0
"""Seconds without a report after which a replica counts as dead; it reports each second."""

DRAINING_SECONDS = 3600.0
"""After which a replica is told to go although it says that somebody is there."""

FAVOUR, LAST = 0.75, 64
"""The most of the last so many visitors that go to one replica: others are tried, whatever it says."""

WAITING = 10_000
"""Visitors that wait at once; each is a record of 300 bytes."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two failed starts, doubling."""


@dataclass(frozen=True)
class Options:
    """What the owner of a service may set.

    `high`, `low`: visitors per place at which a replica is added, and below which one goes.
    `calm`: seconds under `low` before that. `limit`: a fixed number of places instead of a measured
    one. `wait`: seconds a visitor waits for a place when all are taken, before it shares one."""

    least: int = 0
    most: int = 4
    high: float = 1.0
    low: float = 0.7
    calm: float = 20.0
    limit: int = 0
    wait: float = 0.0
    way: str = "load"

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise ValueError("replicas: at least 0, at most 1 or more, in this order")
        if not 0 < self.low < self.high:
            raise ValueError("the low watermark is above 0 and below the high one")
        if not (0 <= self.wait < PATIENCE and self.calm >= 0 and self.limit >= 0):
            raise ValueError(f"times and limits are 0 or more, and nobody waits {PATIENCE:.0f} s")
        if self.way not in WAYS:
            raise ValueError(f"there is no way {self.way!r}: {', '.join(WAYS)}")


@dataclass(frozen=True)
class Load:
    """What a replica says of itself, each second and when somebody is done.

    `joined`: visitors it joined since it started. `active`: those with an open stream, or about to have
    one. `lingering`: those who may come back. `rate`: bytes a second sent during the last whole second, to
    `sharing` visitors; 0 of them in a report between two seconds, which measures nothing. `uplink`: bytes a
    second it can send, 0 if unknown."""

    joined: int
    active: int
    rate: float
    uplink: float = 0.0
    lingering: int = 0
    sharing: int = 0


@dataclass(frozen=True)
class HandOver:
    visitor: int
    replica: int


@dataclass(frozen=True)
class Start:
    replica: int


@dataclass(frozen=True)
class Stop:
    replica: int


@dataclass(frozen=True)
class GiveUp:
    visitor: int


Action = HandOver | Start | Stop | GiveUp


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass
class _Visitor:
    number: int
    region: str
    since: float
    handed: float = 0.0
    tried: list[int] = field(default_factory=list)
    """Replicas it was handed to."""


@dataclass
class Replica:
    """One replica as the fleet sees it."""

    number: int
    started: float
    region: str = ""
    state: State = State.STARTING
    heard: float = 0.0
    load: Load = field(default_factory=lambda: Load(0, 0, 0.0))
    joining: dict[int, _Visitor] = field(default_factory=dict)
    joined: int = 0
    missed: int = 0
    """Visitors it did not reach since it last reached one."""
    meter: Meter = field(default_factory=Meter)
    places: int = UNMEASURED
    room: int = 1
    """Visitors it takes while others may; `places` once it was measured."""
    draining_since: float = 0.0

    @property
    def busy(self) -> int:
        """Visitors there or on their way. Who joined after the last report is not in its `active`."""
        here = min(self.load.active, self.joined) + max(0, self.joined - self.load.joined)
        return here + len(self.joining)

    @property
    def staying(self) -> bool:
        """Somebody is there, or may come back."""
        return self.busy > 0 or self.load.lingering > 0

    @property
    def fill(self) -> float:
        """One that reaches nobody fills up by that."""
        return (self.busy + self.missed) / self.places

    @property
    def uplink(self) -> float:
        return self.meter.uplink


class Fleet:
    """All replicas of one service."""

    def __init__(self, options: Options, rng: random.Random | None = None) -> None:
        self._options = options
        self._rng = rng or random.SystemRandom()
        self._way = WAYS[options.way]
        self._replicas: dict[int, Replica] = {}
        self._waiting: dict[int, _Visitor] = {}
        self._count = 0
        self._last: deque[int] = deque(maxlen=LAST)  # where the last visitors went
        self._usual_places = UNMEASURED
        self._trend = Trend()
        self._quiet_since: float | None = None
        self._no_start_before = 0.0
        self._pause = _FIRST_PAUSE
        self._ended_seconds = 0.0

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._replicas.values()))

    def replica_seconds(self, now: float) -> float:
        """What the fleet has cost so far: the time of every replica from its start to its end."""
        return self._ended_seconds + sum(now - each.started for each in self)

    @property
    def waiting(self) -> int:
        """Visitors for whom there is no replica yet."""
        return len(self._waiting)

    # -- what happened ---------------------------------------------------------------------------

    def arrived(self, visitor: int, now: float, region: str = "") -> list[Action]:
        """A visitor, by any number that no present one has."""
        if len(self._waiting) >= WAITING:
            return [GiveUp(visitor)]
        self._waiting[visitor] = _Visitor(visitor, region, now)
        return self._settle(now)

    def ready(self, replica: int, now: float, region: str = "") -> list[Action]:
        """A replica that was started serves now."""
        if (found := self._replicas.get(replica)) is not None:
            found.state, found.heard, found.region = State.READY, now, region
            self._trend.took(now - found.started)
            self._pause = _FIRST_PAUSE
        return self._settle(now)

    def start_failed(self, replica: int, now: float) -> list[Action]:
        """It did not come up; the next start waits."""
        self._no_start_before = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return self.died(replica, now)

    def report(self, replica: int, load: Load, now: float) -> list[Action]:
        """A replica told its load."""
        if (found := self._replicas.get(replica)) is None:
            return []
        found.load, found.heard = load, now
        found.meter.claimed = load.uplink
        found.meter.learn(load.rate, load.sharing, now)
        return self._settle(now)

    def joined(self, visitor: int, replica: int) -> None:
        """The replica reached the visitor: it is the replica's from here."""
        found = self._replicas.get(replica)
        if found is not None and found.joining.pop(visitor, None) is not None:
            found.joined += 1
            found.missed = 0

    def failed(self, visitor: int, replica: int, now: float) -> list[Action]:
        """The replica could not reach the visitor."""
        found = self._replicas.get(replica)
        lost = found.joining.pop(visitor, None) if found else None
        if found is None or lost is None:
            return []
        found.missed += 1
        return self._retry([lost]) + self._settle(now)

    def died(self, replica: int, now: float) -> list[Action]:
        """It is gone, with the streams it had; who was on the way to it goes elsewhere."""
        found = self._replicas.pop(replica, None)
        if found is None:
            return []
        self._ended_seconds += now - found.started
        return self._retry(list(found.joining.values())) + self._settle(now)

    def tick(self, now: float) -> list[Action]:
        """To be called about each second."""
        actions: list[Action] = []
        for replica in self:
            if replica.state is not State.STARTING and now - replica.heard > SILENCE:
                actions += [Stop(replica.number), *self.died(replica.number, now)]
        for replica in self:
            late = [v for v in replica.joining.values() if now - v.handed > JOIN_SECONDS]
            for visitor in late:
                del replica.joining[visitor.number]
                replica.missed += 1
            actions += self._retry(late)
        for visitor in [v for v in self._waiting.values() if now - v.since > PATIENCE]:
            del self._waiting[visitor.number]
            actions.append(GiveUp(visitor.number))
        return actions + self._settle(now) + self._shrink(now)

    # -- what to do ------------------------------------------------------------------------------

    def _settle(self, now: float) -> list[Action]:
        """Places for those who wait, then replicas for those without a place."""
        self._measure(now)
        self._call_off_draining()
        actions: list[Action] = []
        for visitor in tuple(self._waiting.values()):
            target = self._target(visitor, now)
            if target is None and visitor.tried:
                continue  # others may go where this one was in vain
            if target is None:
                break
            del self._waiting[visitor.number]
            visitor.tried.append(target.number)
            visitor.handed = now
            target.joining[visitor.number] = visitor
            actions.append(HandOver(visitor.number, target.number))
        return actions + self._grow(now)

    def _measure(self, now: float) -> None:
        everybody = list(self)
        found, usual = places([replica.meter for replica in everybody], now)
        limit = self._options.limit
        self._usual_places = limit or usual
        for replica, measured in zip(everybody, found, strict=True):
            replica.places = limit or measured
            replica.room = replica.places if limit or replica.meter.knows_one else 1

    def _target(self, visitor: _Visitor, now: float) -> Replica | None:
        """One with room, or any after a while; another one than those that did not reach the visitor."""
        ready = [replica for replica in self if replica.state is State.READY]
        fair = [replica for replica in ready if not self._is_favoured(replica)] or ready
        untried = [replica for replica in fair if replica.number not in visitor.tried] or fair
        with_room = [replica for replica in untried if replica.busy + replica.missed < replica.room]
        may_share = now - visitor.since >= self._options.wait
        candidates = with_room or (untried if may_share else [])
        if not candidates:
            return None
        chosen = self._way(candidates, visitor.region, self._rng)
        if len(ready) > 1:
            self._last.append(chosen.number)
        return self._replicas[chosen.number]

    def _is_favoured(self, replica: Replica) -> bool:
        """It had most of those who might have gone elsewhere."""
        return self._last.count(replica.number) > FAVOUR * LAST

    def _retry(self, visitors: list[_Visitor]) -> list[Action]:
        actions: list[Action] = []
        for visitor in visitors:
            if len(visitor.tried) < ATTEMPTS:
                self._waiting[visitor.number] = visitor
            else:
                actions.append(GiveUp(visitor.number))
        return actions

    def _call_off_draining(self) -> None:
        """Cheaper than a start: it has a machine already."""
        for replica in self:
            if replica.state is State.DRAINING and self._demand() > self._offer() * (
                self._options.high
            ):
                replica.state = State.READY

    def _grow(self, now: float) -> list[Action]:
        actions: list[Action] = []
        demand = self._demand()
        expected = demand + self._trend.coming(demand, now)
        while self._may_start(now):
            full = expected >= self._offer() * self._options.high and demand > 0
            if not full and len(self._serving()) >= self._options.least:
                break
            self._count += 1
            replica = Replica(self._count, now, places=self._usual_places)
            self._replicas[replica.number] = replica
            actions.append(Start(replica.number))
        return actions

    def _may_start(self, now: float) -> bool:
        """While nobody knows what a replica takes, no more at once than serve already: what the first ones
        measure decides on the next."""
        states = [replica.state for replica in self]
        starting, ready = states.count(State.STARTING), states.count(State.READY)
        short = len(self._serving()) < self._options.least
        return (
            len(states) < self._options.most
            and now >= self._no_start_before
            and (short or self._is_known() or starting < max(1, ready))
        )

    def _is_known(self) -> bool:
        """How many visitors a replica has places for."""
        return bool(self._options.limit) or any(replica.uplink for replica in self)

    def _shrink(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for replica in self:
            overdue = now - replica.draining_since > DRAINING_SECONDS
            if replica.state is State.DRAINING and (overdue or not replica.staying):
                del self._replicas[replica.number]
                self._ended_seconds += now - replica.started
                actions.append(Stop(replica.number))
        if self._spare() is None:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= self._options.calm:
            while (spare := self._spare()) is not None:
                spare.state, spare.draining_since = State.DRAINING, now
            self._quiet_since = None
        return actions

    def _spare(self) -> Replica | None:
        """The replica that the others could do without, staying below the low watermark."""
        ready = [replica for replica in self if replica.state is State.READY]
        if len(self._serving()) <= self._options.least or not ready:
            return None
        emptiest = min(ready, key=lambda replica: (replica.fill, -replica.number))
        rest = self._offer() - emptiest.places
        return emptiest if self._demand() <= rest * self._options.low else None

    def _serving(self) -> list[Replica]:
        return [replica for replica in self if replica.state is not State.DRAINING]

    def _demand(self) -> int:
        return len(self._waiting) + sum(replica.busy for replica in self._serving())

    def _offer(self) -> int:
        return sum(replica.places for replica in self._serving())
