"""R4: fuzzed lines, by the hundred thousand here and by the million in the campaign.

No line that is not in the model's list of forms ever reaches tor; nothing but a declared error
comes out; whole and bytewise are the same.
"""

from __future__ import annotations

import random

import pytest
from tests.firewall.kit import KEY, OTHER_SERVICE, OWN_RELAY, OWN_SERVICE, RELAYS, SETTINGS
from tests.firewall.model_tor import ModelTor
from tests.firewall.test_matrix import ANSWERED, REFUSED, TO_TOR

from bento.firewall.filter import FunctionFilter, ToGuest, ToTor

# Without QUIT, which would end most batches early. Half are the ways in to tor.
SEEDS = [line for table in (TO_TOR * 4, ANSWERED, REFUSED) for line, _ in table]
SEEDS = [line for line in SEEDS if not line.startswith("QUIT")]
WORDS = sorted({word for line in SEEDS for word in line.replace("\r\n", " ").split(" ")})
SPICE = ["\r", "\n", "\r\n", "\x00", '"', "\\", " ", "=", ",", "+", ".", "\t", "\xff", "%s", "0"]
SPICE += [OWN_RELAY, "$" + RELAYS[0], OWN_SERVICE, OTHER_SERVICE, "Detach", "unix:/x", "650 CIRC"]
PREAMBLE = (
    f"AUTHENTICATE\r\nEXTENDCIRCUIT 0 {','.join(RELAYS[:3])}\r\n"
    "ADD_ONION NEW:BEST Port=80\r\nSETEVENTS CIRC STREAM HS_DESC\r\n"
)
BATCH = 25


def line(rng: random.Random) -> str:
    text = mutated(rng)
    if text.startswith("+") and rng.random() < 0.95:
        text += "\r\n."  # else what follows is data, up to the next dot
    return text


def mutated(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(SEEDS)
    if kind < 0.4:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 7)))
    if kind < 0.45:
        return rng.randbytes(rng.randrange(60)).decode("latin-1")
    text = rng.choice(SEEDS)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text) + 1)
        cut = rng.randrange(4) if rng.random() < 0.5 else 0
        text = text[:at] + rng.choice(SPICE) + text[at + cut :]
    return text


def run(pieces: list[bytes]) -> tuple[list[bytes], bytes, list[bytes], list[str]]:
    """What reaches tor, the answers, the events, and the model's list of breaches.

    Answers and events are apart: an event may come earlier or later among the firewall's own
    answers, as with any tor.
    """
    tor = ModelTor(numbers=(11, 5, 1))  # the own stream, circuit and service of the seeds
    peer = tor.connect("one", KEY)
    machine = FunctionFilter(SETTINGS, 0.0)
    to_tor: list[bytes] = []
    answers: list[bytes] = []
    events: list[bytes] = []
    now = 0.0

    def give(outputs: list) -> None:
        for output in outputs:
            if isinstance(output, ToTor):
                to_tor.append(output.data)
                tor.command(peer, output.data)
            elif isinstance(output, ToGuest):
                (events if output.is_event else answers).append(output.data)
        while peer.out:
            give(machine.from_tor(peer.out.popleft(), now))

    give(machine.start())
    tor.open_stream("one", KEY)
    give([])
    for piece in pieces:
        give(machine.from_guest(piece, now))
    assert machine.wake_at is None
    return to_tor, b"".join(answers), events, tor.breaches


def fuzz(seed: int, lines: int) -> int:
    """Returns how many commands reached tor, so that a fuzzer that reaches nothing is noticed."""
    reached = 0
    for batch in range(lines // BATCH):
        rng = random.Random(f"{seed}/{batch}")
        text = PREAMBLE + "".join(line(rng) + "\r\n" for _ in range(BATCH))
        data = text.encode("latin-1")
        whole = to_tor, answers, _, breaches = run([data])
        assert breaches == [], (seed, batch)
        assert answers.isascii() and b"\x00" not in answers
        assert whole == run([data[i : i + 1] for i in range(len(data))])
        reached += len(to_tor) - 4
    return reached


def test_fuzzed_lines_bring_no_unlisted_command_to_tor():
    assert fuzz(seed=1, lines=10_000) > 500


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10, 20))
def test_r4_a_million_fuzzed_lines(seed):
    assert fuzz(seed, lines=100_000) > 5_000
