"""R5 for tokens: an attacker with every move, against a model that knows what each token was made of.

The model never looks at a seal: it keeps, for each token, who minted it and what was put behind it since.
Whatever the attacker builds, the box must allow exactly what the model does.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.box.test_journal import ENTRY

from bento.box.journal import Journal
from bento.box.ledger import JournalLedger
from bento.box.tokens import Tokens
from bento.errors import BoxError
from bento.protocol.capability import SEAL, Capability
from bento.protocol.caveats import (
    ATTACH,
    INVOKE,
    SHUTDOWN,
    AtBox,
    Bytes,
    Caveat,
    Holder,
    NotAfter,
    Only,
    Runs,
    Unknown,
    Uses,
)
from bento.protocol.door import Open
from bento.safelog import Sensitive

BOX, OTHER_BOX = b"B" * 32, b"O" * 32
CODE, OTHER_CODE = b"c" * 32, b"o" * 32
START = 1_000_000
SESSIONS = [bytes([number]) * 16 for number in range(1, 6)]

salts = st.sampled_from([bytes(8), b"1" * 8, b"2" * 8])
CONDITIONS = st.one_of(
    st.builds(Only, st.sampled_from([INVOKE, ATTACH, SHUTDOWN, INVOKE | ATTACH, 255])),
    st.builds(AtBox, st.sampled_from([BOX, BOX, OTHER_BOX])),
    st.builds(Runs, st.sampled_from([CODE, CODE, OTHER_CODE])),
    st.builds(NotAfter, st.integers(START, START + 100)),
    st.builds(Uses, salts, st.integers(0, 3)),
    st.builds(Bytes, salts, st.integers(0, 300)),
    st.just(Holder(b"h" * 32)),
    st.just(Unknown(b"\x01\xfe")),
)
COUNTS = st.one_of(
    st.builds(Uses, salts, st.integers(0, 3)), st.builds(Bytes, salts, st.integers(0, 300))
)


class Made:
    """A token and the truth about it: `born` is None for what the attacker made out of nothing."""

    def __init__(self, token: Capability, born: int | None, conditions: tuple[Caveat, ...]) -> None:
        self.token = token
        self.born = born
        self.conditions = conditions


class Attacker(RuleBasedStateMachine):
    made = Bundle("made")

    @initialize()
    def boxes(self) -> None:
        self.now = START
        self.folder = tempfile.TemporaryDirectory(prefix="bento-")
        self.loop = asyncio.new_event_loop()
        self._open()
        self.box = Tokens(Sensitive(b"key" * 11), BOX, lambda: self.now)
        self.other = Tokens(Sensitive(b"no!" * 11), OTHER_BOX, lambda: self.now)
        self.running: dict[bytes, int] = {}  # name -> instance
        self.numbers = itertools.count()
        self.used: dict[tuple[object, ...], set[bytes]] = {}
        self.passed: dict[tuple[object, ...], int] = {}
        self.genuine: dict[tuple[object, ...], Made] = {}

    def _know(self, one: Made) -> Made:
        if one.born is not None:
            self.genuine[one.token.name, one.token.raw, one.token.seal] = one
        return one

    def _forged(self, token: Capability) -> Made:
        """What was taken apart may have been put together again: that is the token it was."""
        known = self.genuine.get((token.name, token.raw, token.seal))
        return known or Made(token, None, token.caveats)

    @rule(target=made)
    def install(self) -> Made:
        return self._install(0)

    @rule(target=made)
    def install_and_take_the_shutdown_token(self) -> Made:
        return self._install(1)

    def _install(self, which: int) -> Made:
        name, *tokens = self.box.mint(CODE)
        number = next(self.numbers)
        self.running[name] = number
        record = replace(ENTRY.record, instance_id=str(number))
        self.loop.run_until_complete(self.journal.add(replace(ENTRY, record=record)))
        return self._know(Made(tokens[which], number, tokens[which].caveats))

    @rule(target=made, one=made, condition=CONDITIONS)
    def add(self, one: Made, condition: Caveat) -> Made:
        return self.narrow(one, condition)

    def narrow(self, one: Made, condition: Caveat) -> Made:
        if len(one.conditions) > 10:
            return one
        narrowed = one.token.narrow(condition)
        return self._know(Made(narrowed, one.born, (*one.conditions, condition)))

    @rule(target=made, one=made, condition=COUNTS)
    def limit(self, one: Made, condition: Caveat) -> Made:
        return self.narrow(one, condition)

    @rule(target=made, conditions=st.lists(COUNTS, min_size=1, max_size=3), at_once=st.booleans())
    def install_and_limit(self, conditions: list[Caveat], at_once: bool) -> Made:
        one = self._install(0)
        for condition in conditions:
            one = self.narrow(one, condition)
        if at_once:
            self.use_it_up(one)
        return one

    @rule(target=made, one=made, data=st.data())
    def rearrange(self, one: Made, data: st.DataObject) -> Made:
        """Removes, repeats or moves caveats and keeps the seal."""
        raw = (
            tuple(data.draw(st.lists(st.sampled_from(one.token.raw), max_size=8)))
            if one.token.raw
            else ()
        )
        token = Capability(one.token.name, raw, one.token.seal)
        return one if raw == one.token.raw else self._forged(token)

    @rule(target=made, one=made, two=made)
    def graft(self, one: Made, two: Made) -> Made:
        """The caveats of one token under the seal of another."""
        if one.token == two.token:
            return one
        token = Capability(two.token.name, one.token.raw, two.token.seal)
        return two if token == two.token else self._forged(token)

    @rule(target=made, one=made, seal=st.binary(min_size=SEAL, max_size=SEAL))
    def guess(self, one: Made, seal: bytes) -> Made:
        return Made(Capability(one.token.name, one.token.raw, seal), None, one.conditions)

    @rule(target=made, one=made, two=made)
    def mint_with_a_seal_for_a_root(self, one: Made, two: Made) -> Made:
        token = Capability.mint(one.token.seal, two.token.name, AtBox(BOX), Runs(CODE))
        return Made(token, None, token.caveats)

    @rule(one=made)
    def end(self, one: Made) -> None:
        number = self.running.pop(one.token.name, None)
        self.loop.run_until_complete(self.journal.ending(str(number)))

    @rule()
    def restart_the_box(self) -> None:
        self.loop.run_until_complete(self.journal.close())
        self._open()

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        one=made,
        session=st.sampled_from(SESSIONS),
        operations=st.sampled_from([INVOKE | ATTACH, SHUTDOWN]),
    )
    def use(self, one: Made, session: bytes, operations: int) -> None:
        expected = self._allowed(one, operations, session)
        assert self._ask(one.token, operations, session) == expected

    @rule(one=made, session=st.sampled_from(SESSIONS))
    def lose_the_answer_and_ask_again(self, one: Made, session: bytes) -> None:
        used = {prefix: len(sessions) for prefix, sessions in self.used.items()}
        if self._ask(one.token, INVOKE, session):
            assert self._allowed(one, INVOKE, session)
            again = {prefix: len(sessions) for prefix, sessions in self.used.items()}
            assert self._ask(one.token, INVOKE, session)
            assert sum(again.values()) - sum(used.values()) <= len(self._prefixes(one, Uses))

    @rule(one=made)
    def use_it_up(self, one: Made) -> None:
        for session in SESSIONS:
            self.use(one, session, INVOKE | ATTACH)

    @rule(one=made, wanted=st.integers(1, 200))
    def draw(self, one: Made, wanted: int) -> None:
        try:
            leave = self._check(one.token, INVOKE | ATTACH, SESSIONS[0])
        except BoxError:
            return
        if not leave.bytes:
            return
        prefixes = self._prefixes(one, Bytes)
        left = min(limit - self.passed.get(prefix, 0) for prefix, limit in prefixes)
        drawing = self.ledger.draw(str(one.born), leave.bytes, wanted)
        drawn = self.loop.run_until_complete(drawing)
        assert drawn == max(0, min(left, wanted))
        for prefix, _ in prefixes:
            self.passed[prefix] = self.passed.get(prefix, 0) + drawn

    @rule(one=made)
    def take_it_to_another_box(self, one: Made) -> None:
        request = Open(one.token.encode(), SESSIONS[0], b"")
        try:
            self.other.check(one.token, CODE, request, INVOKE | ATTACH)
        except BoxError as error:
            assert "no such token" in error.detail
        else:
            raise AssertionError("another box accepted it")

    @invariant()
    def no_count_passes_its_limit(self) -> None:
        for prefix, sessions in getattr(self, "used", {}).items():
            assert len(sessions) <= prefix[-1].limit
        for prefix, passed in getattr(self, "passed", {}).items():
            assert passed <= prefix[-1].limit

    def teardown(self) -> None:
        self.loop.run_until_complete(self.journal.close())
        self.loop.close()
        self.folder.cleanup()

    # -- the box ---------------------------------------------------------------------------------

    def _open(self) -> None:
        self.journal = Journal.open(Path(self.folder.name, "journal.db"))
        self.ledger = JournalLedger(self.journal)

    def _check(self, token: Capability, operations: int, session: bytes):
        again = Capability.parse(token.encode())
        function = CODE if again.name in self.running else None
        return self.box.check(again, function, Open(token.encode(), session, b""), operations)

    def _ask(self, token: Capability, operations: int, session: bytes) -> int:
        try:
            leave = self._check(token, operations, session)
        except BoxError:
            return 0
        instance = str(self.running[token.name])
        spending = self.ledger.spend(instance, leave.uses, session)
        spent = self.loop.run_until_complete(spending)
        return leave.operations if spent else 0

    # -- the truth -------------------------------------------------------------------------------

    def _allowed(self, one: Made, operations: int, session: bytes) -> int:
        if one.born is None or self.running.get(one.token.name) != one.born:
            return 0
        for condition in one.conditions:
            if isinstance(condition, Only):
                operations &= condition.operations
            elif not self._holds(condition):
                return 0
        if not operations:
            return 0
        prefixes = self._prefixes(one, Uses)
        for prefix, limit in prefixes:
            used = self.used.get(prefix, set())
            if session not in used and len(used) >= limit:
                return 0
        for prefix, _ in prefixes:
            self.used.setdefault(prefix, set()).add(session)
        return operations

    def _holds(self, condition: Caveat) -> bool:
        if isinstance(condition, AtBox):
            return condition.key == BOX
        if isinstance(condition, Runs):
            return condition.function == CODE
        if isinstance(condition, NotAfter):
            return self.now < condition.time
        return isinstance(condition, Uses | Bytes)

    def _prefixes(self, one: Made, kind: type) -> list[tuple[tuple[object, ...], int]]:
        """A counter is what was narrowed so far, up to and with its own condition."""
        return [
            ((one.born, *map(_Key, one.conditions[: at + 1])), condition.limit)
            for at, condition in enumerate(one.conditions)
            if isinstance(condition, kind)
        ]


class _Key:
    """A condition that can be looked up."""

    def __init__(self, condition: Caveat) -> None:
        self.condition = condition
        self.limit = getattr(condition, "limit", 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.condition == self.condition

    def __hash__(self) -> int:
        return hash(type(self.condition))


TestAttacker = Attacker.TestCase
TestAttacker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.campaign
def test_r5_an_attacker_with_much_time():
    much = settings(max_examples=2_000, stateful_step_count=60, deadline=None)
    run_state_machine_as_test(Attacker, settings=much)
