"""P9: verifying evidence; the attested channel beside a plain one on a path of a fast circuit's rate.

Verification is measured in processor time: a few milliseconds on a shared machine's clock measure
the neighbours.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

from tests.conclave import channel_pair, samples, snp_maker, tpm_maker

from benchmarks.figures import Figure, median
from bento.conclave.appraise import appraise
from bento.conclave.claims import Claims
from bento.conclave.evidence import Evidence
from bento.conclave.trust import Session, TrustPolicy, evaluate
from bento.conclave.verify_snp import verify_snp

MIB = 1 << 20
VERIFY_LIMIT_MS = 20.0
PATH_RATE = 32 * MIB  # bytes a second: above what one circuit gives on the private network
BULK = 48 * MIB
CHUNK = bytes(range(256)) * 256  # 64 KiB


def measure() -> Iterator[Figure]:
    yield from _verification()
    yield _channel()


# --- verification


def _verification() -> Iterator[Figure]:
    amd, tpm = snp_maker.amd(), tpm_maker.tpm()
    cases: dict[str, tuple[Evidence, int, Callable[[Evidence, int], Claims]]] = {
        "real SGX": (samples.sgx(), samples.SGX_CLOCK, lambda e, t: appraise(e, now=t)),
        "real TDX": (samples.tdx(), samples.TDX_CLOCK, lambda e, t: appraise(e, now=t)),
        "real SNP": (samples.milan(), samples.SNP_CLOCK, lambda e, t: appraise(e, now=t)),
        "SNP with revocation list": (
            amd.evidence(),
            samples.NOW,
            lambda e, t: verify_snp(e, t, amd.roots()),
        ),
        "TPM": (tpm.evidence(), samples.NOW, lambda e, t: appraise(e, now=t, roots=tpm.roots())),
        "emulated": (
            samples.emulated(),
            samples.NOW,
            lambda e, t: appraise(e, now=t, roots=samples.roots()),
        ),
    }
    policy, session = TrustPolicy(), Session(0, post_quantum=True)
    for name, (evidence, now, verify) in cases.items():
        raw = evidence.encode()

        def once(raw: bytes = raw, now: int = now, verify: Callable = verify) -> float:
            began = time.process_time()
            claims = verify(Evidence.decode(raw), now)
            evaluate(policy, claims, now=now, session=session)
            return (time.process_time() - began) * 1e3

        yield Figure(
            *("P9", median([once() for _ in range(31)]), "ms", VERIFY_LIMIT_MS, 1.0),
            what=f"verify and judge {name} v. the limit",
        )


# --- channel


class Path32:
    """A connection whose middle passes PATH_RATE bytes a second, as a circuit would."""

    def __init__(self) -> None:
        self.sender, self._entry = socket.socketpair()
        self._exit, self.receiver = socket.socketpair()
        self._middle = threading.Thread(target=self._pass)
        self._middle.start()

    def _pass(self) -> None:
        due = time.perf_counter()
        while data := self._entry.recv(65536):
            due = max(due, time.perf_counter() - 0.02) + len(data) / PATH_RATE
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            self._exit.sendall(data)
        self._exit.close()

    def close(self) -> None:
        self._middle.join()
        for end in (self.sender, self._entry, self.receiver):
            end.close()


def _transfer(outgoing: Callable[[bytes], bytes], incoming: Callable[[bytes], int]) -> float:
    """MiB/s of payload over the path."""
    path = Path32()

    def send() -> None:
        for _ in range(BULK // len(CHUNK)):
            path.sender.sendall(outgoing(CHUNK))
        path.sender.close()

    began, got = time.perf_counter(), 0
    worker = threading.Thread(target=send)
    worker.start()
    while data := path.receiver.recv(65536):
        got += incoming(data)
    taken = time.perf_counter() - began
    worker.join()
    path.close()
    assert got == BULK
    return BULK / MIB / taken


def _plain() -> float:
    return _transfer(lambda data: data, len)


def _attested() -> float:
    conclave, channel = channel_pair.Conclave(), channel_pair.client()
    channel_pair.attest(channel, conclave)

    def outgoing(data: bytes) -> bytes:
        conclave.channel.send(data)
        return conclave.channel.outgoing()

    return _transfer(outgoing, lambda data: sum(map(len, channel.receive(data))))


def _channel() -> Figure:
    attested, plain = [], []
    for _ in range(3):
        attested.append(_attested())
        plain.append(_plain())
    return Figure(
        *("P9", median(attested), "MiB/s", median(plain), 0.9),
        at_least=True,
        what="attested channel v. plain, both ends in one process, path of 32 MiB/s",
    )
