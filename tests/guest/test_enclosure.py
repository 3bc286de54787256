"""Evidence costs the platform up to a second: who asks for it and goes costs nobody anything."""

from types import SimpleNamespace

from bento.guest.enclosure import _AT_ONCE, Enclosure
from bento.protocol import control


class Client:
    """A connection that waits for evidence; `evidence` is what came."""

    def __init__(self):
        self.open, self.evidence = True, None
        self.sock = SimpleNamespace(fileno=lambda: 7 if self.open else -1)

    def attested(self, evidence):
        self.evidence = evidence


class Box:
    def __init__(self):
        self.asked = []

    def send(self, message):
        self.asked.append(message)


def test_clients_that_come_and_go_cost_no_evidence_and_no_memory():
    enclosure, box = Enclosure(None), Box()
    enclosure.joined(box)
    for number in range(10_000):
        gone = Client()
        enclosure._ask(number.to_bytes(64, "big"), gone)
        gone.open = False
    stays = Client()
    enclosure._ask(b"s" * 64, stays)
    assert len(box.asked) == _AT_ONCE
    assert len(enclosure._waiting) == 1
    for question in tuple(box.asked):
        enclosure.told(control.Measured(question.number, b"evidence"))
    assert [question.report_data for question in box.asked[_AT_ONCE:]] == [b"s" * 64]
    enclosure.told(control.Measured(box.asked[-1].number, b"for who stayed"))
    assert stays.evidence == b"for who stayed"


def test_a_box_that_comes_back_is_asked_what_is_open_and_only_once_more():
    enclosure, first, second = Enclosure(None), Box(), Box()
    enclosure.joined(first)
    clients = [Client() for _ in range(_AT_ONCE + 3)]
    for client in clients:
        enclosure._ask(bytes(64), client)
    enclosure.left(first)
    enclosure.joined(second)
    assert len(second.asked) == _AT_ONCE
    for _ in range(_AT_ONCE + 3):
        enclosure.told(control.Measured(second.asked.pop(0).number, b"e"))
    assert all(client.evidence == b"e" for client in clients)
    enclosure.told(control.Measured(1, b"not asked"))
