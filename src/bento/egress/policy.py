"""The verdict on one connection. Pure: no name is resolved and nothing is sent here.

Three questions, each of which can only refuse; what none of them refuses is allowed:

  1. address    is it the public Internet? (`addresses.py`, the box's own addresses, tor's ports)
  2. exit       would this relay's exit policy let a Tor user go there?
  3. manifest   did the function ask for it?

A refusal names the question and what would allow the connection.

Beside them stands one permission, `relays`: an address and port where a relay of the consensus takes
links passes questions 2 and 3, which are about what exits and functions reach in Tor's name. Such a
connection leads into the Tor network and to nothing else, and this relay makes it all day.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from bento.egress.addresses import IPAddress, IPNetwork, canonical, embedded, internal
from bento.egress.or_ports import NONE_KNOWN, OrPorts
from bento.egress.rules import EgressRules


class ExitPolicyLike(Protocol):
    """What is needed of `bento.tor.exit_policy.ExitPolicy`."""

    def allows(self, ip: IPAddress, port: int, /) -> bool: ...


class _NoExit:
    """The exit policy of a relay that is not known yet."""

    def allows(self, ip: IPAddress, port: int, /) -> bool:
        return False


class Question(Enum):
    """Which of the three questions refused."""

    ADDRESS = "address"
    EXIT = "exit"
    MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is a sentence for the function's author; empty when allowed."""

    allowed: bool
    reason: str = ""
    question: Question | None = None


ALLOWED = Verdict(True)

# Names that mean this machine or this site to resolvers (RFC 6761, 6762, 8375, 9476).
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "localdomain", "exit", "alt")


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What one function may reach from this box.

    Until it is given an `exit_policy` it refuses everything; None means on purpose that another
    relay's will decide, as for egress through Tor. `exceptions` are networks that question 1 lets
    pass although they are not public (the private test network's web); own addresses and `closed`
    ports stay shut even there.

    `or_ports` are the consensus' and `relays` says whether this function may connect to them; to
    those and nothing else there, `relay_exceptions` are what `exceptions` are."""

    rules: EgressRules = field(default_factory=EgressRules)
    exit_policy: ExitPolicyLike | None = field(default_factory=_NoExit)
    own_addresses: frozenset[IPAddress] = frozenset()
    closed: frozenset[tuple[IPAddress, int]] = frozenset()
    exceptions: tuple[IPNetwork, ...] = ()
    or_ports: OrPorts = NONE_KNOWN
    relays: bool = False
    relay_exceptions: tuple[IPNetwork, ...] = ()

    def with_rules(self, rules: EgressRules, *, relays: bool = False) -> EgressPolicy:
        """The same box, another function."""
        return replace(self, rules=rules, relays=relays)

    def to_relay(self, name: str | None, ip: IPAddress | None, port: int) -> bool:
        """Whether a connection is one that the permission `relays` is about: to a relay's ORPort,
        asked for by its address."""
        return self.relays and name is None and ip is not None and self.or_ports.have(ip, port)

    def verdict(self, name: str | None, ip: IPAddress | None, port: int) -> Verdict:
        """On a connection asked for by `name` (None: by address), to `ip` (None: Tor resolves it).

        `name` must be a spelling of `names.parse_name`. Raises ValueError if both are None."""
        if name is None and ip is None:
            raise ValueError("a connection has a name or an address")
        destination = _describe(name, ip, port)
        if not 1 <= port <= 65535:
            return Verdict(False, f"{destination} has no valid port", Question.ADDRESS)
        verdict = self._usual(name, ip, port, destination)
        if verdict.allowed or name is not None or ip is None:
            return verdict
        return self._as_relay(verdict, canonical(ip), port, destination)

    def _usual(
        self, name: str | None, ip: IPAddress | None, port: int, destination: str
    ) -> Verdict:
        if name is not None and (refused := self._local_name(name, destination)):
            return refused
        if ip is not None and (refused := self._address(canonical(ip), port, destination)):
            return refused
        if ip is None and self.exit_policy is not None:
            return Verdict(
                False,
                f"{destination} is refused: this relay's exit policy speaks of addresses only",
                Question.EXIT,
            )
        return self._manifest(name, ip, port, destination)

    def _as_relay(self, usual: Verdict, ip: IPAddress, port: int, destination: str) -> Verdict:
        """What the permission `relays` makes of a refusal."""
        if not self.or_ports.have(ip, port):
            nor = "; nor is it a relay's ORPort in the consensus" if self.relays else ""
            return replace(usual, reason=usual.reason + nor)
        for place in (ip, *embedded(ip)):
            if what := self._shut(place, port, self.relay_exceptions):
                return _not_public(destination, place, what)
        if self.relays:
            return ALLOWED
        return Verdict(
            False,
            f"{destination} is a relay's ORPort; the manifest line relays = true would allow it",
            Question.MANIFEST,
        )

    def may_resolve(self, name: str, port: int) -> Verdict:
        """Whether a look-up of `name` could serve an allowed connection: a name that no entry
        covers never leaves the box, so it carries nothing out."""
        destination = _describe(name, None, port)
        if refused := self._local_name(name, destination):
            return refused
        if self.rules.may_allow(name, port):
            return ALLOWED
        return _not_in_manifest(name, None, port, destination)

    def _local_name(self, name: str, destination: str) -> Verdict | None:
        if not any(name == local or name.endswith("." + local) for local in _LOCAL_NAMES):
            return None
        return Verdict(
            False,
            f"{destination} is refused: a name of this machine or site, which nothing opens",
            Question.ADDRESS,
        )

    def _address(self, ip: IPAddress, port: int, destination: str) -> Verdict | None:
        for place in (ip, *embedded(ip)):
            if what := self._shut(place, port, self.exceptions):
                return _not_public(destination, place, what)
            if self.exit_policy is not None and not self.exit_policy.allows(place, port):
                return Verdict(
                    False,
                    f"{destination} is refused by this relay's exit policy; "
                    f"only its operator could allow it (ExitPolicy accept {_show(place)}:{port})",
                    Question.EXIT,
                )
        return None

    def _shut(self, ip: IPAddress, port: int, exceptions: tuple[IPNetwork, ...]) -> str:
        if ip in self.own_addresses:
            return "an address of the box itself"
        if (ip, port) in self.closed:
            return "a port of tor"
        if any(ip.version == net.version and ip in net for net in exceptions):
            return ""
        return internal(ip)

    def _manifest(
        self, name: str | None, ip: IPAddress | None, port: int, destination: str
    ) -> Verdict:
        if self.rules.allow(name, ip, port):
            return ALLOWED
        return _not_in_manifest(name, ip, port, destination)


def _not_public(destination: str, ip: IPAddress, what: str) -> Verdict:
    return Verdict(
        False, f"{destination} is refused: {ip} is {what}, which nothing opens", Question.ADDRESS
    )


def _not_in_manifest(
    name: str | None, ip: IPAddress | None, port: int, destination: str
) -> Verdict:
    host = name if name is not None else _show(ip)
    return Verdict(
        False,
        f"{destination} is not in the function's manifest; "
        f'the entry "{host}:{port}" in its egress list would allow it',
        Question.MANIFEST,
    )


def _describe(name: str | None, ip: IPAddress | None, port: int) -> str:
    if name is None:
        return f"{_show(ip)}:{port}"
    return f"{name}:{port}" if ip is None else f"{name}:{port} ({ip})"


def _show(ip: IPAddress | None) -> str:
    return f"[{ip}]" if ip is not None and ip.version == 6 else str(ip)
