"""Two functions and one tor, in any order of any deeds: neither sees or touches the other's."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.firewall.kit import KEY, RELAYS, STRANGER, settings
from tests.firewall.model_tor import ModelTor

from bento.firewall.filter import FunctionFilter, Output, ToGuest, ToTor

NAMES = st.sampled_from(["one", "three"])
KEYS = {"one": KEY, "three": STRANGER}
DEEDS = st.sampled_from(
    [
        "EXTENDCIRCUIT 0 {path}",
        "EXTENDCIRCUIT {n} {relay}",
        "CLOSECIRCUIT {n}",
        "ATTACHSTREAM {n} {m}",
        "ATTACHSTREAM {n} 0",
        "CLOSESTREAM {n} 1",
        "ADD_ONION NEW:BEST Port=80",
        "DEL_ONION {onion}",
        "HSFETCH {onion}",
        "+HSPOST HSADDRESS={onion}\r\nhs-descriptor 3\r\n.",
        "GETINFO circuit-status stream-status onions/current",
        "SETEVENTS CIRC STREAM CIRC_BW STREAM_BW HS_DESC",
        "SETEVENTS CIRC",
    ]
)


class Side:
    def __init__(self, tor: ModelTor, name: str) -> None:
        self.name = name
        self.peer = tor.connect(name, KEYS[name])
        chosen = settings(isolation_key=KEYS[name])
        self.filter = FunctionFilter(chosen, 0.0)
        self.heard = ""


class TwoFunctions(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.tor = ModelTor()
        self.now = 0.0
        self.sides: dict[str, Side] = {}
        self.ever: dict[str, set[str]] = {"one": set(), "three": set()}
        for name in KEYS:
            self.join(name)

    def join(self, name: str) -> None:
        side = self.sides[name] = Side(self.tor, name)
        self.give(side, side.filter.start())
        self.give(side, side.filter.from_guest(b"AUTHENTICATE\r\n", self.now))
        self.settle()

    def give(self, side: Side, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, ToTor):
                self.tor.command(side.peer, output.data)
            elif isinstance(output, ToGuest):
                side.heard += output.data.decode()

    def settle(self) -> None:
        """Deliver all that tor said, until nobody has more to say."""
        while any(side.peer.out for side in self.sides.values()):
            for side in self.sides.values():
                if side.peer.out:
                    self.give(side, side.filter.from_tor(side.peer.out.popleft(), self.now))
        for number, owner in self.tor.circuits.items():
            self.ever[owner].add(str(number))
        for number, owner in self.tor.streams.items():
            self.ever[owner].add(str(number))
        for onion, owner in self.tor.services.items():
            self.ever[owner].add(onion)

    @rule(name=NAMES, deed=DEEDS, data=st.data())
    def does(self, name: str, deed: str, data: st.DataObject) -> None:
        numbers = [*self.tor.circuits, *self.tor.streams, 1]
        line = deed.format(
            path=",".join(RELAYS[:3]),
            relay=RELAYS[4],
            n=data.draw(st.sampled_from(numbers)),
            m=data.draw(st.sampled_from(numbers)),
            onion=data.draw(st.sampled_from([*self.tor.services, "a" * 56])),
        )
        self.now += 60
        side = self.sides[name]
        self.give(side, side.filter.from_guest(line.encode() + b"\r\n", self.now))
        self.settle()

    @rule(name=NAMES)
    def opens_a_stream(self, name: str) -> None:
        self.tor.open_stream(name, KEYS[name])
        self.settle()

    @rule()
    def a_second_passes(self) -> None:
        self.tor.tick()
        self.settle()

    @rule(name=NAMES)
    def dies_and_comes_back(self, name: str) -> None:
        side = self.sides[name]
        self.give(side, side.filter.guest_gone())
        self.settle()
        assert name not in self.tor.circuits.values()
        self.tor.disconnect(name)
        self.join(name)

    @invariant()
    def nobody_touched_anothers(self) -> None:
        assert self.tor.breaches == []

    @invariant()
    def nobody_heard_of_anothers(self) -> None:
        for name, side in self.sides.items():
            other = "three" if name == "one" else "one"
            # What a function said itself comes back in the words of a refusal.
            told = [line for line in side.heard.split("\r\n") if not line.startswith("552 ")]
            words = set(" ".join(told).replace("=", " ").replace('"', " ").split())
            assert not words & self.ever[other]
            assert KEYS[other] not in side.heard and KEYS[name] not in side.heard
            side.heard = ""


TestTwoFunctions = TwoFunctions.TestCase
TestTwoFunctions.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
