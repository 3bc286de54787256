"""The relay's tor, as the box sees it: its exit policy, its addresses, the onion entrance it carries.

tor may be restarted under a running box. The link is then made anew, the policy read again and the
onion service added again; until then egress is refused and the circuit entrance is dark by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bento.egress.or_ports import OrPorts
from bento.errors import TorError
from bento.safelog import Event, log
from bento.tor.controller import Controller
from bento.tor.exit_policy import ExitPolicy
from bento.tor.onion_service import add_onion

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.box.config import OnionEntrance
    from bento.tor.onion_service import OnionKey

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class RelayFacts:
    """What the relay allows, where it is, and its fingerprint (40 hex digits, "" if unknown)."""

    exit_policy: ExitPolicy
    addresses: frozenset[IPAddress]
    fingerprint: str = ""


class Beside:
    """The link to the relay's tor. `changed` is called with the facts after each (re)connection."""

    def __init__(
        self,
        control: str,
        onion: OnionEntrance | None,
        onion_key: OnionKey,
        onion_target: Path,
        changed: Callable[[RelayFacts], None],
        listed: Callable[[OrPorts], None] | None = None,
    ) -> None:
        """`listed` is called with the consensus' ORPorts after each (re)connection and whenever tor has
        a new consensus; without it tor is not asked for them."""
        self._control = control
        self._onion = onion
        self._onion_key = onion_key
        self._onion_target = onion_target
        self._changed = changed
        self._listed = listed
        self._controller: Controller | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects once. Raises TorError when tor is not there or refuses."""
        await self._connect()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._controller is not None:
            await self._controller.close()

    async def _connect(self) -> None:
        controller = await Controller.connect(self._control)
        try:
            await controller.authenticate()
            facts = await _facts(controller)
            if self._onion is not None:
                await add_onion(
                    controller,
                    self._onion_key,
                    self._onion.port,
                    f"unix:{self._onion_target}",
                    self._onion.single_hop,
                    proof_of_work=self._onion.proof_of_work,
                )
            self._changed(facts)
            if self._listed is not None:
                await _follow(controller, self._listed)
        except BaseException:
            await controller.close()
            raise
        self._controller = controller

    async def _keep(self) -> None:
        while True:
            assert self._controller is not None
            await asyncio.wait([self._controller.closed])
            log(Event.TOR_LOST)
            while self._controller.closed.done():
                await asyncio.sleep(_RETRY_SECONDS)
                with contextlib.suppress(TorError):
                    await self._connect()
            log(Event.TOR_BACK)


async def _follow(controller: Controller, listed: Callable[[OrPorts], None]) -> None:
    """First what tor has (nothing yet, when it begins), then each new consensus as it comes."""
    await controller.subscribe(
        {"NEWCONSENSUS"}, lambda event: listed(OrPorts.parse(event.data or ""))
    )
    listed(OrPorts.parse((await controller.get_info("ns/all"))["ns/all"]))


async def _facts(controller: Controller) -> RelayFacts:
    policy = (await controller.get_info("exit-policy/full"))["exit-policy/full"]
    addresses = set(local_addresses())
    with contextlib.suppress(TorError, ValueError):  # tor may not know its address yet
        text = (await controller.get_info("address"))["address"]
        addresses.add(ipaddress.ip_address(text))
    fingerprint = ""
    with contextlib.suppress(TorError):  # it is no relay yet
        fingerprint = (await controller.get_info("fingerprint"))["fingerprint"]
    return RelayFacts(ExitPolicy.parse(policy), frozenset(addresses), fingerprint)


def local_addresses() -> set[IPAddress]:
    """Every address of this machine's own interfaces, as the kernel lists them."""
    found: set[IPAddress] = set()
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
        for address, kind in itertools.pairwise(lines):
            if "host LOCAL" in kind and "/32" in kind:
                found.add(ipaddress.ip_address(address.split()[-1]))
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(ipaddress.IPv6Address(bytes.fromhex(line.split()[0])))
    return found
