"""The network of the experiment: four servers whose uplinks are limited by tor itself, thirteen clients.

A server is a machine that hosts the service, and all it sends passes one relay of its own (`g0` to `g3`):
that relay's BandwidthRate, counted on loopback too, is the server's uplink. So C-tor's service and
Bento's replicas are limited by the same limiter in the same place. No other circuit passes these
relays: everybody else's tor excludes their addresses, they are no directories, and the cell
library of the front and the replicas is given a directory without them but for the replica's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tests.onion.network import SOCKS_PORT, PrivateNetwork, cpu_seconds

from bento.onion.consensus import Relay
from bento.onion.directory import ControlPort, Directory
from bento.onion.network import Network

SERVERS, CLIENTS = 4, 13
NET = 97  # it lives on 127.97.0.0/16
_GUARDS = 21  # the last number of g0's address; no other node has one as high
_SERVICE = 41
_VISITORS = 61


class LimitedNetwork(PrivateNetwork):
    """`rate`: bytes a second of each server's uplink."""

    def __init__(self, root: Path, rate: int, net: int = NET) -> None:
        super().__init__(root, net)
        limit = (f"BandwidthRate {rate}", f"BandwidthBurst {rate}", "CountPrivateBandwidth 1")
        for number in range(SERVERS):
            self._add(f"g{number}", "relay", _GUARDS + number)
            self._limit(f"g{number}", limit)
        fenced = [f"127.{net}.0.{_GUARDS + number}" for number in range(SERVERS)]
        for number in range(SERVERS):
            self._add(f"s{number}", "client", _SERVICE + number)
            others = ",".join(a for a in fenced if a != fenced[number])
            self._limit(f"s{number}", (f"EntryNodes {fenced[number]}", f"ExcludeNodes {others}"))
        everything = f"ExcludeNodes {','.join(fenced)}"
        for number in range(CLIENTS):
            self._add(f"v{number}", "client", _VISITORS + number)
            self._limit(f"v{number}", (everything,))
        for name in ("c0", "c1"):
            self._limit(name, (everything,))
        free = f"127.{net}.0.0/28"  # the authority, the relays and exits
        self._limit("a0", (f"TestingDirAuthVoteHSDir {free}", "TestingDirAuthVoteHSDirIsStrict 1"))

    def _limit(self, name: str, lines: Iterable[str]) -> None:
        node = self.nodes[name]
        self.nodes[name] = replace(node, extra=(*node.extra, *lines))

    def proxy(self, client: int) -> tuple[str, int]:
        return self[f"v{client}"].address, SOCKS_PORT

    def fenced(self) -> frozenset[str]:
        """Fingerprints of the servers' relays."""
        return frozenset(self[f"g{number}"].fingerprint for number in range(SERVERS))

    def cpu_seconds(self) -> float:
        """Of all tors so far."""
        return sum(cpu_seconds(node.pid) for node in self.nodes.values())


class FencedNetwork(Network):
    """A network whose paths do not pass servers' relays, but for a guard that tor chose."""

    def __init__(self, control: ControlPort, fenced: frozenset[str]) -> None:
        super().__init__(control)
        self._fenced = fenced

    async def directory(self) -> Directory:
        known = await super().directory()

        def free(relays: tuple[Relay, ...]) -> tuple[Relay, ...]:
            return tuple(relay for relay in relays if relay.fingerprint not in self._fenced)

        own = [relay for relay in known.guards if relay.fingerprint in self._fenced]
        guards = tuple(own[:1]) or free(known.guards)
        return Directory(known.consensus, free(known.relays), guards)
