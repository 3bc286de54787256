"""A client and a conclave in one process, and boxes in between of every honesty."""

from __future__ import annotations

import os

from tests.conclave import samples
from tests.conclave.samples import MEASUREMENT, NOW

from bento.conclave.attesters.emulated import EmulatedAttester
from bento.conclave.channel import ClientChannel, Judge
from bento.conclave.channel_guest import GuestChannel
from bento.conclave.tls import Credential
from bento.conclave.trust import TrustPolicy

IDENTITY = b"box " * 5
MANIFEST = bytes(range(32))
RUNTIME = f"emulated:{MEASUREMENT.hex()}"


def policy(**changes) -> TrustPolicy:
    return TrustPolicy().allowing_emulated().override(**{"runtimes": [RUNTIME], **changes})


def judge(trust: TrustPolicy | None = None, clock=lambda: NOW + 1.0) -> Judge:
    return Judge(trust or policy(), clock, samples.roots())


def client(identity=IDENTITY, manifest=MANIFEST, decide=None) -> ClientChannel:
    return ClientChannel(decide or judge(), identity, manifest, os.urandom(32))


class Conclave:
    """A guest with its platform's attester; keeps what it received."""

    def __init__(
        self, identity=IDENTITY, manifest=MANIFEST, platform=None, measurement=MEASUREMENT
    ) -> None:
        self.attester = EmulatedAttester(platform or samples.platform(), measurement, NOW)
        self.channel = GuestChannel(Credential(), identity, manifest)
        self.received: list[bytes] = []
        self.evidence: list[bytes] = []

    def exchange(self, data: bytes) -> bytes:
        self.received += self.channel.receive(data)
        if self.channel.wanted is not None:
            self.evidence.append(self.attester.evidence(self.channel.wanted).encode())
            self.channel.provide(self.evidence[-1])
        return self.channel.outgoing()


class Box:
    """Relays, and keeps all it sees."""

    def __init__(self, conclave) -> None:
        self.conclave = conclave
        self.seen = bytearray()
        self.round_trips = 0

    def exchange(self, data: bytes) -> bytes:
        answer = self.conclave.exchange(data)
        self.seen += data + answer
        self.round_trips += 1
        return answer


def attest(channel: ClientChannel, box) -> None:
    """Run the exchange until the client is decided."""
    for _ in range(6):
        if channel.open:
            return
        channel.receive(box.exchange(channel.outgoing()))
    assert channel.open
