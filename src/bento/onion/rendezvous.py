"""Joining a client at its rendezvous point, with the record that a front handed over.

    circuit to the rendezvous point (four hops)  ->  RENDEZVOUS1(cookie, Y, AUTH)  ->  the client's
    end is the fifth hop: SHA3 and AES-256, its streams are BEGINs that come to us

Needs no key of the service: see `handover`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bento.errors import TorError
from bento.onion import hs_ntor, relay
from bento.onion.circuit import Circuit
from bento.onion.congestion import PathKind, Vegas
from bento.onion.handover import Rendezvous
from bento.onion.network import Network
from bento.onion.relay import RelayCommand
from bento.onion.stream import IncomingStream

RETRIES = 2  # a client waits a minute or more; C-tor tries its circuit three times
RETRY_SECONDS = 0.5


async def join(
    network: Network,
    client: Rendezvous,
    on_begin: Callable[[IncomingStream], None],
    *,
    sendme_increment: int | None = None,
) -> Circuit:
    """The circuit to a waiting client; its streams arrive at `on_begin`.

    `sendme_increment` is what the service's descriptor promised; congestion control is used when
    the client asked for it too. Raises TorError when the rendezvous point cannot be reached.
    """
    circuit = await _reach(network, client)
    info, keys = hs_ntor.answer(client.share)
    message = relay.circuit_message(RelayCommand.RENDEZVOUS1, client.cookie + info)
    circuit.send_message(message)
    window = None
    if client.congestion_control and sendme_increment is not None:
        window = Vegas(network.vegas(PathKind.ONION), sendme_increment)
    circuit.on_begin = on_begin
    circuit.add_hop(keys, window)
    return circuit


async def _reach(network: Network, client: Rendezvous) -> Circuit:
    for attempt in range(RETRIES + 1):
        try:
            return await network.circuit_to(client.relay)
        except TorError:
            if attempt == RETRIES:
                raise
            await asyncio.sleep(RETRY_SECONDS * 2**attempt)
    raise AssertionError("unreachable")
