"""Every parser of this room: declared errors only, nothing unread, no bytes behind the end."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conclave import samples, snp_maker, tpm_maker

from bento.conclave import chains, dcap_quote, importing, snp_report, tpm_quote
from bento.conclave.appraise import appraise
from bento.conclave.claims import Kind
from bento.conclave.evidence import LAYOUT, Evidence
from bento.errors import AttestationError

READERS = {
    "quote": (dcap_quote.parse, samples.emulated().parts["quote"]),
    "tdx quote": (dcap_quote.parse, samples.tdx().parts["quote"]),
    "snp report": (snp_report.parse, samples.milan().parts["report"]),
    "tpm attest": (tpm_quote.parse_attest, tpm_maker.attest()),
    "tpm signature": (tpm_quote.parse_signature, tpm_maker.tpm().sign(b"x")),
    "tpm registers": (tpm_quote.parse_pcrs, tpm_quote.encode_pcrs(tpm_maker.PCRS)),
    "certificate": (lambda d: chains.read_der(d, "c"), snp_maker.amd().vcek()),
    "chain": (
        lambda d: chains.read_pem(d, "c", 2),
        samples.emulated().parts["pck_crl_issuer_chain"],
    ),
    "revocation list": (lambda d: chains.read_crl(d, "l"), samples.emulated().parts["pck_crl"]),
}


@pytest.mark.parametrize("name", READERS)
def test_a_good_value_is_read(name):
    read, good = READERS[name]
    read(good)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=60)
def test_any_bytes_are_read_or_refused(name, data):
    read, good = READERS[name]
    start = data.draw(st.integers(0, len(good)))
    noise = data.draw(st.binary(max_size=200))
    keep = data.draw(st.booleans())
    try:
        read(good[:start] + noise + (good[start + len(noise) :] if keep else b""))
    except AttestationError:
        pass


@pytest.mark.parametrize("name", sorted(set(READERS) - {"tpm registers", "chain"}))
def test_a_cut_or_longer_value_is_refused(name):
    read, good = READERS[name]
    for changed in (b"", good[:-1], good[:20], good + b"\1", good + good):
        with pytest.raises(AttestationError):
            read(changed)


@given(
    st.binary(max_size=400),
    st.sampled_from([*Kind, None]),
    st.one_of(st.none(), st.binary(max_size=90)),
)
def test_any_file_is_imported_or_refused(data, kind, collateral):
    try:
        importing.from_files(data, collateral, [data], kind)
    except AttestationError:
        pass


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=9,
    )
)
@settings(max_examples=60)
def test_any_json_is_collateral_or_refused(document):
    try:
        importing.from_files(samples.data("sgx_quote"), json.dumps(document).encode())
    except AttestationError:
        pass


@given(st.sampled_from(list(Kind)), st.data())
def test_any_parts_are_appraised_or_refused(kind, data):
    parts = {
        p.name: data.draw(st.binary(min_size=1, max_size=min(64, p.limit))) for p in LAYOUT[kind][1]
    }
    with pytest.raises(AttestationError):
        appraise(Evidence(kind, parts), now=samples.NOW, roots=samples.roots())


def test_registers_must_ascend_and_exist():
    one = bytes(32)
    for bad in (
        b"\1" + one + b"\0" + one,
        b"\1" + one + b"\1" + one,
        b"\x18" + one,
        b"\0" + one[1:],
    ):
        with pytest.raises(AttestationError):
            tpm_quote.parse_pcrs(bad)


def test_a_padded_quote_of_the_kernel_is_trimmed_only_of_zeros():
    raw = samples.data("tdx_quote")
    exact = dcap_quote.trim(raw)
    assert (len(raw), len(exact)) == (5006, 4936)
    assert dcap_quote.trim(exact + bytes(7)) == exact
    assert dcap_quote.trim(exact + b"\0\1") == exact + b"\0\1"


def test_a_quote_cut_within_its_head_is_left_alone():
    """Found by fuzzing: version 5 has a second head."""
    head = (5).to_bytes(2, "little") + bytes(46)
    for size in range(70):
        assert dcap_quote.trim((head + bytes(99))[:size]) == (head + bytes(99))[:size]


def test_a_certificate_list_has_one_spelling():
    good = samples.emulated().parts["pck_crl_issuer_chain"]
    assert len(chains.read_pem(good, "c", 2)) == 2
    for changed in (
        b"comment\n" + good,
        good + b"x",
        good.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
    ):
        with pytest.raises(AttestationError):
            chains.read_pem(changed, "c", 2)
    with pytest.raises(AttestationError):
        chains.read_pem(good, "c", 3)


def test_the_one_byte_no_signature_covers_is_checked():
    """The unused-bits count of the outer BIT STRING, found by flipping every bit."""
    for certificate in (tpm_maker.tpm().certificate() for _ in range(40)):
        if certificate.signature[-1] & 1:
            continue
        raw = bytearray(chains.der(certificate))
        raw[-len(certificate.signature) - 1] = 1
        with pytest.raises(AttestationError):
            chains.read_der(bytes(raw), "c")


def test_the_algorithm_outside_a_certificate_repeats_the_one_inside():
    """Found by flipping every bit of a real key: AMD's PSS parameters stand there twice."""
    for good in (samples.data("vcek_milan.der"), snp_maker.amd().vcek()):
        tbs = chains.read_der(good, "c").tbs_certificate_bytes
        start = good.index(tbs) + len(tbs)
        for at in range(start, start + good[start + 1] + 2):
            for bit in range(8):
                with pytest.raises(AttestationError):
                    chains.read_der(samples.flip(good, at * 8 + bit), "c")
