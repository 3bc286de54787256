"""The way between a conclave and another box: only the box that is meant, and nothing between reads it."""

import hashlib
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bento.conclave.box_channel import BoxChannel
from bento.conclave.channel_guest import GuestChannel
from bento.conclave.framing import BUCKETS
from bento.conclave.tls import Credential
from bento.errors import BoxError, LocalProtocolError, RemoteProtocolError

KEY = Ed25519PrivateKey.generate()
HASH = hashlib.sha256(KEY.public_key().public_bytes_raw()).digest()


def pair(key_hash=HASH, far=None):
    """Both ends after the handshake, and the bytes that went between them."""
    guest, box, wire = (
        BoxChannel(key_hash=key_hash),
        far or BoxChannel(Credential(KEY)),
        bytearray(),
    )
    while data := guest.outgoing():
        box.receive(data)
        wire += data + (back := box.outgoing())
        guest.receive(back)
    return guest, box, wire


def passed(sender, receiver):
    data = sender.outgoing()
    return receiver.receive(data), len(data)


def test_words_and_the_end_pass_both_ways():
    guest, box, wire = pair()
    for sender, receiver in ((guest, box), (box, guest)):
        sent = os.urandom(200_000)
        sender.send(sent)
        assert passed(sender, receiver)[0] == sent
        sender.finish()
        assert not receiver.closed
        assert passed(sender, receiver)[0] == b""
        assert receiver.closed
    assert KEY.public_key().public_bytes_raw() not in wire, "its certificate is sealed too"


def test_what_is_on_the_wire_tells_sizes_by_bucket_only():
    guest, box, _ = pair()
    sizes = set()
    for size in (1, 300, 500):
        guest.send(bytes(size))
        sizes.add(passed(guest, box)[1])
    [one] = sizes
    assert BUCKETS[0] < one < BUCKETS[0] + 100


def test_another_key_is_no_box_that_was_meant():
    with pytest.raises(BoxError, match="another box answers"):
        pair(key_hash=bytes(32))
    with pytest.raises(RemoteProtocolError):  # a conclave is none, whatever it shows
        pair(far=GuestChannel(Credential(), bytes(32), bytes(32)))


def test_nothing_is_said_before_and_no_changed_byte_is_taken():
    guest = BoxChannel(key_hash=HASH)
    with pytest.raises(LocalProtocolError):
        guest.send(b"too early")
    guest, box, _ = pair()
    guest.send(b"word")
    data = bytearray(guest.outgoing())
    data[-1] ^= 1
    with pytest.raises(RemoteProtocolError):
        box.receive(bytes(data))


def test_nothing_follows_the_end():
    guest, box, _ = pair()
    guest.finish()
    guest.send(b"after it")
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        box.receive(guest.outgoing())
