"""A conclave in its own process, from handshake to wiping: what its box relays, stores and sees from
outside holds nothing of the function; and what root reads in its memory without hardware.
"""

import os
import struct
import subprocess
from pathlib import Path

import pytest
from tests.conclave import samples
from tests.conclave.channel_pair import RUNTIME, judge, policy
from tests.conclave.samples import MEASUREMENT, NOW

from bento.conclave import runtime
from bento.conclave.attesters.emulated import EmulatedAttester
from bento.conclave.channel import ClientChannel

# The needles are put together at run time: the test itself must not hold them in one piece.
FUNCTION = b"""
def main(argument):
    path = "/bento-guest-data/" + "canary-" + "name.txt"
    with open(path, "ab") as file:
        file.write(b"canary-" + b"stored " + argument)
    with open(path, "rb") as file:
        return b"canary-" + b"answer " + file.read()
"""
ARGUMENT = b"canary-argument"
NEEDLES = (b"canary-argument", b"canary-answer", b"canary-stored", b"canary-name", b"def main")


class Box:
    """Starts the process, relays, and keeps everything an operator can."""

    def __init__(self, libraries: Path, below: Path) -> None:
        source = str(Path(runtime.__file__).parents[2])
        program = str(Path(__file__).with_name("guest_program.py"))
        command = ["/usr/bin/python3", "-I", "-S", program, source, str(libraries), str(below)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"LANG": "C.UTF-8"}
        )
        self.below = below
        self.seen = bytearray()
        self._attester = EmulatedAttester(samples.platform(), MEASUREMENT, NOW)

    def exchange(self, data: bytes) -> bytes:
        self._put(b"W", data)
        while True:
            kind, answer = self._take()
            if kind == b"W":
                if self._asked:
                    self._put(b"E", self._asked.pop())
                    answer += self._take()[1]
                self.seen += data + answer
                return answer
            self._asked.append(self._attester.evidence(answer).encode())

    _asked: list[bytes] = []

    def _put(self, kind: bytes, data: bytes) -> None:
        self.process.stdin.write(kind + struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()

    def _take(self) -> tuple[bytes, bytes]:
        head = self.process.stdout.read(5)
        assert len(head) == 5, "the conclave ended"
        return head[:1], self.process.stdout.read(struct.unpack(">I", head[1:])[0])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    return runtime.export_libraries(tmp_path_factory.mktemp("libraries"))


@pytest.fixture
def box(libraries, tmp_path):
    (tmp_path / "below").mkdir()
    started = Box(libraries, tmp_path / "below")
    yield started
    started.close()


def attested(box):
    channel = ClientChannel(judge(policy(runtimes=[RUNTIME])), b"box", bytes(32), os.urandom(32))
    while not channel.open:
        channel.receive(box.exchange(channel.outgoing()))
    return channel


def call(channel, box, payload):
    channel.send(payload)
    return b"".join(channel.receive(box.exchange(channel.outgoing())))


def test_the_operator_finds_nothing_of_the_function_outside_its_memory(box):
    channel = attested(box)
    assert call(channel, box, FUNCTION) == b"loaded"
    expected = b"canary-answer canary-stored canary-argument"
    assert call(channel, box, ARGUMENT) == expected
    pid = box.process.pid
    views = {
        "relayed": bytes(box.seen),
        "arguments": Path(f"/proc/{pid}/cmdline").read_bytes(),
        "environment": Path(f"/proc/{pid}/environ").read_bytes(),
        "names on disk": b" ".join(os.fsencode(p) for p in box.below.rglob("*")),
        "files on disk": b"".join(p.read_bytes() for p in box.below.rglob("*")),
    }
    assert views["files on disk"]
    for view, content in views.items():
        for needle in NEEDLES:
            assert needle not in content, (view, needle)


def test_without_hardware_root_reads_the_function_in_memory(box):
    """The honest counter-test: this must stay true for an emulated conclave, and be said."""
    channel = attested(box)
    call(channel, box, FUNCTION)
    call(channel, box, ARGUMENT)
    assert "the operator can read everything" in channel.verdict.summary
    assert _found(box.process.pid, b"canary-stored canary-argument")


def test_at_the_end_storage_is_empty(box):
    channel = attested(box)
    call(channel, box, FUNCTION)
    call(channel, box, ARGUMENT)
    assert list(box.below.iterdir())
    channel.finish()
    channel.receive(box.exchange(channel.outgoing()))
    assert channel.closed
    assert list(box.below.iterdir()) == []


def _found(pid, needle):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                if needle in memory.read(end - start):
                    return True
            except OSError:
                pass
    return False
