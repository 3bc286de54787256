"""The attested channel: opens in two round trips to the right conclave only; everything else is
refused before a byte of the function leaves; the box learns neither content nor exact sizes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from tests.conclave import samples
from tests.conclave.channel_pair import (
    IDENTITY,
    MANIFEST,
    Box,
    Conclave,
    attest,
    client,
    judge,
    policy,
)
from tests.conclave.samples import MEASUREMENT, NOW

from bento.conclave import binding, channel_guest, framing
from bento.conclave.channel import ClientChannel
from bento.conclave.channel_guest import GuestChannel
from bento.conclave.evidence import MAX_EVIDENCE
from bento.conclave.tls import Credential, Tls
from bento.errors import AttestationError, LocalProtocolError, RemoteProtocolError

SECRET = b"def main(api): api.send(b'the secret of this function')"


# --- the good case


def test_the_function_arrives_after_two_round_trips():
    conclave = Conclave()
    box, channel = Box(conclave), client()
    attest(channel, box)
    assert box.round_trips == 2
    channel.send(SECRET)
    box.exchange(channel.outgoing())
    assert conclave.received == [SECRET]
    assert channel.verdict.accepted


def test_data_of_any_size_goes_both_ways():
    conclave = Conclave()
    box, channel = Box(conclave), client()
    attest(channel, box)
    for size in (0, 1, 507, 508, 65531, 65532, 300_000):
        data = os.urandom(size)
        channel.send(data)
        conclave.received.clear()
        box.exchange(channel.outgoing())
        assert b"".join(conclave.received) == data
        conclave.channel.send(data)
        assert b"".join(channel.receive(conclave.channel.outgoing())) == data


def test_the_key_exchange_is_post_quantum():
    channel = client()
    attest(channel, Box(Conclave()))
    assert "MLKEM" in channel.group


def test_both_sides_say_when_they_are_done():
    conclave, channel = Conclave(), client()
    attest(channel, conclave)
    channel.finish()
    conclave.exchange(channel.outgoing())
    assert conclave.channel.closed
    conclave.channel.finish()
    channel.receive(conclave.channel.outgoing())
    assert channel.closed


def test_nothing_can_be_sent_after_the_end():
    conclave, channel = Conclave(), client()
    attest(channel, conclave)
    conclave.channel.finish()
    with pytest.raises(LocalProtocolError, match="closed"):
        conclave.channel.send(b"late")
    channel.finish()
    with pytest.raises(LocalProtocolError, match="closed"):
        channel.send(b"late")


def test_a_cut_is_not_an_end():
    conclave, channel = Conclave(), client()
    attest(channel, conclave)
    conclave.channel.send(b"half")
    channel.receive(conclave.channel.outgoing()[:-3])
    assert not channel.closed


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=9))
@settings(max_examples=15)
def test_the_wire_may_be_cut_anywhere(cuts):
    conclave, channel = Conclave(), client()

    def pieces(data):
        turn = 0
        while data:
            size = cuts[turn % len(cuts)]
            yield data[:size]
            data, turn = data[size:], turn + 1

    while not channel.open:
        answers = [conclave.exchange(piece) for piece in pieces(channel.outgoing())]
        for piece in pieces(b"".join(answers)):
            channel.receive(piece)
    channel.send(SECRET * 100)
    for piece in pieces(channel.outgoing()):
        conclave.exchange(piece)
    assert b"".join(conclave.received) == SECRET * 100


# --- refused before upload


def refused(channel, box, match=None):
    """The channel refuses, and nothing of the user's ever leaves."""
    with pytest.raises((AttestationError, RemoteProtocolError), match=match) as caught:
        attest(channel, box)
    with pytest.raises(LocalProtocolError):
        channel.send(SECRET)
    with pytest.raises(LocalProtocolError):
        channel.receive(b"")
    assert channel.outgoing() == b""
    return caught.value


def test_a_man_in_the_middle_with_true_evidence_is_refused():
    """The box ends the client's TLS itself and fetches evidence from a true conclave."""

    class Middle:
        def __init__(self):
            self.front = GuestChannel(Credential(), IDENTITY, MANIFEST)
            self.back = Tls()
            self.conclave = Conclave()
            self.frames = framing.FrameReader()
            self.nonce = None

        def exchange(self, data):
            original = channel_guest.GuestChannel._measure

            def keep(guest, nonce):
                self.nonce = nonce
                original(guest, nonce)

            self.front._measure = lambda nonce: keep(self.front, nonce)
            self.front.receive(data)
            if self.front.wanted is not None:
                self.front.provide(self.true_evidence())
            return self.front.outgoing()

        def true_evidence(self):
            self.back.start()
            while not self.back.established:
                self.back.feed(self.conclave.exchange(self.back.outgoing()))
            self.back.write(framing.encode(framing.ATTEST, self.nonce))
            self.back.feed(self.conclave.exchange(self.back.outgoing()))
            return self.conclave.evidence[0]

    refused(client(), Middle(), "not about this channel")


def test_replayed_evidence_of_an_earlier_session_is_refused():
    earlier = Conclave()
    attest(client(), earlier)
    later = Conclave()
    later.attester.evidence = lambda wanted: Replay(earlier.evidence[0])
    refused(client(), later, "not about this channel")


class Replay:
    def __init__(self, data):
        self.data = data

    def encode(self):
        return self.data


def test_replayed_evidence_of_the_same_conclave_is_refused():
    conclave = Conclave()
    credential = conclave.channel._tls._credential
    attest(client(), conclave)
    again = Conclave()
    again.channel = GuestChannel(credential, IDENTITY, MANIFEST)
    again.attester.evidence = lambda wanted: Replay(conclave.evidence[0])
    refused(client(), again, "not about this channel")


def test_another_boxs_evidence_is_refused():
    refused(client(), Conclave(identity=b"another box"), "not about this channel")


def test_another_functions_conclave_is_refused():
    refused(client(), Conclave(manifest=bytes(32)), "not about this channel")


def test_an_altered_runtime_is_refused():
    refused(client(), Conclave(measurement=bytes(32)), "not a trusted one")


def test_a_platform_of_another_root_is_refused():
    refused(client(), Conclave(platform=samples.other_platform()))


def test_stale_collateral_is_refused():
    decide = judge(clock=lambda: NOW + 20 * 86400.0)
    refused(client(decide=decide), Conclave(), "max_collateral_age_s")
    decide = judge(clock=lambda: NOW + 40 * 86400.0)
    refused(client(decide=decide), Conclave())


def test_evidence_that_took_too_long_is_refused():
    times = iter([NOW + 1.0, NOW + 400.0])
    refused(client(decide=judge(clock=lambda: next(times))), Conclave(), "max_evidence_age_s")


def test_emulated_is_refused_without_being_named():
    refused(client(decide=judge(policy(families=["sgx"], min_level="vm"))), Conclave(), "families")


def test_noise_and_other_protocols_are_refused():
    class Noise:
        def __init__(self, answer):
            self.answer = answer

        def exchange(self, data):
            return self.answer

    for answer in (b"HTTP/1.1 200 OK\r\n\r\n", bytes(4000), os.urandom(4000)):
        refused(client(), Noise(answer), "handshake failed")


def test_a_server_without_our_protocol_is_refused(monkeypatch):
    monkeypatch.setattr("bento.conclave.tls._select", lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)
    refused(client(), Conclave(), "no conclave protocol")


@pytest.mark.parametrize("bit", range(0, 1200, 97))
def test_a_box_that_changes_one_bit_is_refused(bit):
    class Changer(Box):
        def exchange(self, data):
            answer = super().exchange(data)
            return samples.flip(answer, bit) if self.round_trips == 2 else answer

    refused(client(), Changer(Conclave()))


FRAMES = {
    "data before evidence": [(framing.DATA, b"x")],
    "end before evidence": [(framing.CLOSE, b"")],
    "a request": [(framing.ATTEST, bytes(32))],
    "evidence without size": [(framing.EVIDENCE, b"")],
    "evidence too long": [(framing.EVIDENCE, (MAX_EVIDENCE + 1).to_bytes(4, "big"))],
    "evidence longer than said": [(framing.EVIDENCE, b"\0\0\0\1ab")],
    "evidence that does not grow": [(framing.EVIDENCE, b"\0\0\0\5ab"), (framing.EVIDENCE, b"")],
    "empty evidence": [(framing.EVIDENCE, b"\0\0\0\0")],
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_guest_out_of_turn_is_refused(case):
    class Rude:
        def __init__(self):
            self.tls = Tls(Credential())

        def exchange(self, data):
            was = self.tls.established
            self.tls.feed(data)
            if self.tls.established and not was:
                for kind, payload in FRAMES[case]:
                    self.tls.write(framing.encode(kind, payload))
            return self.tls.outgoing()

    refused(client(), Rude())


# --- the guest's side


def session():
    """A client's bare TLS, established with a guest."""
    guest, tls = GuestChannel(Credential(), IDENTITY, MANIFEST), Tls()
    tls.start()
    while not tls.established:
        guest.receive(tls.outgoing())
        tls.feed(guest.outgoing())
    return guest, tls


@pytest.mark.parametrize(
    "frames",
    [
        [(framing.DATA, b"upload")],
        [(framing.CLOSE, b"")],
        [(framing.EVIDENCE, b"")],
        [(framing.ATTEST, bytes(31))],
        [(framing.ATTEST, bytes(32)), (framing.DATA, b"early")],
        [(framing.ATTEST, bytes(32)), (framing.ATTEST, bytes(32))],
    ],
)
def test_a_client_out_of_turn_is_refused(frames):
    guest, tls = session()
    for kind, payload in frames:
        tls.write(framing.encode(kind, payload))
    with pytest.raises(RemoteProtocolError):
        guest.receive(tls.outgoing())


def test_a_guest_gives_evidence_once_and_only_when_asked():
    guest, tls = session()
    with pytest.raises(LocalProtocolError):
        guest.provide(b"evidence")
    with pytest.raises(LocalProtocolError):
        guest.send(b"x")
    tls.write(framing.encode(framing.ATTEST, bytes(32)))
    guest.receive(tls.outgoing())
    with pytest.raises(LocalProtocolError):
        guest.provide(bytes(MAX_EVIDENCE + 1))
    guest.provide(b"evidence")
    with pytest.raises(LocalProtocolError):
        guest.provide(b"evidence")


def test_a_guest_never_speaks_an_older_tls():
    guest = GuestChannel(Credential(), IDENTITY, MANIFEST)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    with pytest.raises(RemoteProtocolError):
        guest.receive(connection.bio_read(65536))


@given(st.binary(max_size=300))
@settings(max_examples=40)
def test_any_bytes_to_a_guest_or_client_are_refused_plainly(data):
    for side in (GuestChannel(Credential(), IDENTITY, MANIFEST), client()):
        try:
            assert side.receive(data) == []
        except RemoteProtocolError:
            pass


def test_a_nonce_has_its_size():
    with pytest.raises(LocalProtocolError):
        ClientChannel(judge(), IDENTITY, MANIFEST, b"short")


def test_a_credential_does_not_print_its_key():
    assert repr(Credential()) == "<Credential>"


# --- what the box sees


def test_the_box_sees_neither_function_nor_evidence_nor_nonce():
    conclave = Conclave()
    box, channel = Box(conclave), client()
    attest(channel, box)
    channel.send(SECRET)
    box.exchange(channel.outgoing())
    conclave.channel.send(SECRET)
    box.seen += conclave.channel.outgoing()
    for secret in (SECRET[:16], channel._nonce, conclave.evidence[0][:40], MEASUREMENT, MANIFEST):
        assert secret not in box.seen


def test_messages_of_one_bucket_look_alike():
    def sizes(payloads):
        conclave, channel = Conclave(), client()
        attest(channel, conclave)
        channel.outgoing()
        found = []
        for payload in payloads:
            channel.send(payload)
            found.append(len(channel.outgoing()))
        return found

    assert len(set(sizes([b"", b"a", b"a" * 300, b"b" * 507]))) == 1
    assert len(set(sizes([b"a" * 508, b"a" * 1000]))) == 1
    assert len(set(sizes([b"a" * 40000, b"a" * 65531]))) == 1


# --- binding


BASE = (bytes(32), b"key", bytes(32), b"box", bytes(32))


@pytest.mark.parametrize("part", range(5))
def test_the_binding_covers_each_part(part):
    changed = list(BASE)
    changed[part] = b"\1" + changed[part][1:]
    assert binding.report_data(*changed) != binding.report_data(*BASE)


def test_the_binding_never_changes():
    """A vector for other implementations."""
    assert binding.report_data(*BASE).hex()[:32] == VECTOR


VECTOR = "531f87689ab2b8352cd89a9406e038b1"


@pytest.mark.parametrize(
    "changed",
    [{0: b"short"}, {2: b"short"}, {3: b""}, {3: bytes(129)}, {4: bytes(31)}],
)
def test_the_binding_takes_parts_of_fixed_sizes_only(changed):
    parts = [changed.get(n, part) for n, part in enumerate(BASE)]
    with pytest.raises(ValueError):
        binding.report_data(*parts)


# --- where it runs


def test_the_guests_side_runs_on_debians_python_too():
    """The sandbox may have only Debian's pyOpenSSL: it works, without a post-quantum group."""
    source = Path(binding.__file__).parents[2]
    script = (
        f"import sys; sys.path[:0] = [{str(source)!r}]; sys.path.append("
        "'/usr/lib/python3/dist-packages')\n"
        "from bento.conclave.channel_guest import GuestChannel\n"
        "from bento.conclave.tls import Credential, Tls\n"
        "guest, tls = GuestChannel(Credential(), b'box', bytes(32)), Tls()\n"
        "tls.start()\n"
        "while not tls.established:\n"
        "    guest.receive(tls.outgoing())\n"
        "    tls.feed(guest.outgoing())\n"
        "forbidden = {'msgspec', 'dcap_qvl', 'bento.conclave.trust'} & set(sys.modules)\n"
        "assert not forbidden, forbidden\n"
        "print(tls.group or 'unknown', tls.exporter() == guest._tls.exporter())\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1] == "True"


def test_the_guests_modules_bring_no_verifier():
    code = (
        "import sys, bento.conclave.channel_guest\n"
        "print([m for m in sys.modules if m.startswith('bento.conclave')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"channel_guest", "binding", "framing", "tls"}
    found = {m.rpartition(".")[2] for m in eval(done.stdout)} - {"conclave"}
    assert found == allowed
