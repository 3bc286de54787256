"""Uploading descriptors to their HSDirs: one circuit and one BEGIN_DIR stream each."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from bento.errors import BentoError, TorError
from bento.onion.consensus import Relay
from bento.onion.network import Network

UPLOAD_SECONDS = 60.0
PARALLEL = 4  # uploads at a time: circuits are cheap, but not free for the guard
_MAX_ANSWER = 16_384
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True, slots=True)
class Upload:
    """How one HSDir took a descriptor; `detail` is empty when it did."""

    relay: Relay
    detail: str

    @property
    def ok(self) -> bool:
        return not self.detail


async def publish(network: Network, text: bytes, relays: list[Relay]) -> list[Upload]:
    """Uploads to every one of `relays`; never raises for a single one that fails."""
    gate = asyncio.Semaphore(PARALLEL)

    async def one(relay: Relay) -> Upload:
        async with gate:
            try:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    await _upload(network, text, relay)
            except TimeoutError:
                return Upload(relay, "it did not answer in time")
            except BentoError as error:
                return Upload(relay, error.detail)
            return Upload(relay, "")

    return list(await asyncio.gather(*map(one, relays)))


async def _upload(network: Network, text: bytes, relay: Relay) -> None:
    circuit = await network.circuit_to(relay)
    try:
        stream = await circuit.open_directory()
        host, port = relay.addresses[0]
        head = (
            f"POST /tor/hs/3/publish HTTP/1.0\r\nHost: {host}:{port}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n"
        )
        await stream.write(head.encode() + text)
        answer = await stream.read_all(_MAX_ANSWER)
        status = _STATUS.match(answer)
        if status is None or status[1] != b"200":
            said = status[1].decode() if status else "nothing"
            raise TorError(f"the HSDir answered {said}")
    finally:
        circuit.close()
