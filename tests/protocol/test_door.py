"""The door: one hello, one request, one answer, then a pipe; everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import BoxError, BusyError, LocalProtocolError, PolicyError, RemoteProtocolError
from bento.protocol import door
from bento.protocol.door import BoxDoor, ClientDoor
from bento.protocol.padding import DOOR_CLASS, Pad, padded
from bento.protocol.puzzle import Quote
from bento.protocol.wire import encode

TOKEN, TAG = b"t" * 70, b"s" * 16
WELCOME = (b"{}", bytes(64), bytes(32), 0, 0)
ANSWERS = [
    (door.Create("", bytes(32), b"", b""), door.Created(TOKEN, TOKEN, 60)),
    (door.Open(TOKEN, TAG, b""), door.Opened()),
    (door.Shutdown(TOKEN, b""), door.Done()),
    (door.Renew(TOKEN), door.Done()),
    (door.Seal(1, 60, 60, b""), door.Sealed(TOKEN)),
    (door.Seal(0, 0, 0, TAG), door.Sealed(b"")),
]


@pytest.mark.parametrize(("request_", "answer"), ANSWERS)
def test_each_request_gets_its_answer(request_, answer):
    client, box = ClientDoor(), BoxDoor()
    hello, asked = box.receive(client.request(request_))
    assert asked == request_
    welcome, got = client.receive(box.welcome(hello, *WELCOME) + box.answer(answer))
    assert isinstance(welcome, door.Welcome)
    assert got == answer


def test_bytes_behind_an_open_belong_to_the_guest():
    client, box = ClientDoor(), BoxDoor()
    box.receive(client.request(door.Open(TOKEN, TAG, b"")) + b"for the guest")
    with pytest.raises(LocalProtocolError):
        box.rest()
    box.answer(door.Opened())
    assert box.rest() == b"for the guest"


def test_bytes_behind_an_opened_belong_to_the_client():
    client = ClientDoor()
    client.request(door.Open(TOKEN, TAG, b""))
    client.receive(encode(door.Welcome(1, *WELCOME)) + encode(door.Opened()) + b"of the guest")
    assert client.rest() == b"of the guest"


def test_a_refusal_carries_its_kind_and_hint():
    client, box = ClientDoor(), BoxDoor()
    box.receive(client.request(door.Open(TOKEN, TAG, b"")))
    refusal = box.answer(door.Refused.of(PolicyError("too much", "ask for less")))
    (answer,) = client.receive(refusal)
    error = answer.error()
    assert (type(error), error.detail, error.hint) == (PolicyError, "too much", "ask for less")


@pytest.mark.parametrize("quote", [None, Quote(12345, 6, b"s" * 16)])
def test_a_refusal_of_a_busy_box_carries_price_or_wait_for_machines(quote):
    client, box = ClientDoor(), BoxDoor()
    box.receive(client.request(door.Create("", bytes(32), b"", b"")))
    busy = BusyError("not now", "pay or wait", wait=0 if quote else 5, quote=quote)
    (answer,) = client.receive(box.answer(door.refusal(busy)))
    error = answer.error()
    assert (type(error), error.detail, error.hint) == (BusyError, "not now", "pay or wait")
    assert (error.wait, error.quote) == (busy.wait, quote)


def test_a_long_refusal_is_cut_not_dropped():
    encode(door.Refused.of(BoxError("ü" * 10_000, "h" * 10_000)))


@pytest.mark.parametrize(
    "stream",
    [
        encode(door.Open(TOKEN, TAG, b"")),
        encode(door.Hello((1,))) * 2,
        encode(door.Hello((99,))),
        encode(door.Hello(())),
        encode(door.Done()),
    ],
)
def test_a_client_out_of_turn_is_refused(stream):
    with pytest.raises(RemoteProtocolError):
        BoxDoor().receive(stream)


@pytest.mark.parametrize(
    "stream",
    [
        encode(door.Opened()),
        encode(door.Welcome(1, *WELCOME)) * 2,
        encode(door.Welcome(2, *WELCOME)),
        encode(door.Welcome(1, *WELCOME)) + encode(door.Done()),
    ],
)
def test_a_box_out_of_turn_is_refused(stream):
    client = ClientDoor()
    client.request(door.Open(TOKEN, TAG, b""))
    with pytest.raises(RemoteProtocolError):
        client.receive(stream)


def test_one_request_gets_one_answer():
    client, box = ClientDoor(), BoxDoor()
    box.receive(client.request(door.Open(TOKEN, TAG, b"")))
    box.answer(door.Opened())
    with pytest.raises(LocalProtocolError):
        box.answer(door.Opened())
    with pytest.raises(LocalProtocolError):
        client.request(door.Open(TOKEN, TAG, b""))


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_the_declared_error(data):
    client = ClientDoor()
    client.request(door.Open(TOKEN, TAG, b""))
    for receive in (BoxDoor().receive, client.receive):
        try:
            receive(data)
        except RemoteProtocolError:
            pass


def test_padding_is_forgotten_and_comes_once_before_the_request():
    hello, pad, ask = map(encode, (door.Hello((1,)), Pad(b"x" * 9), ANSWERS[1][0]))
    box = BoxDoor()
    assert [type(m) for m in box.receive(hello + pad + ask)] == [door.Hello, door.Open]
    assert len(BoxDoor().receive(hello + ask)) == 2
    for wrong in (pad, hello + pad + pad, pad + hello + ask):
        with pytest.raises(RemoteProtocolError):
            BoxDoor().receive(wrong)


@pytest.mark.parametrize("request_", [door.Inquire(), *(request_ for request_, _ in ANSWERS)])
def test_every_request_has_one_size(request_):
    assert len(ClientDoor().request(request_)) == padded(1, DOOR_CLASS)


def test_every_client_says_the_same_hello():
    assert ClientDoor().request(door.Inquire()) == ClientDoor().request(door.Inquire())
