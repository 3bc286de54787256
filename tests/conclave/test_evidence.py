"""The container: one spelling, bounded, any bytes give evidence or an AttestationError."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conclave import samples

from bento.conclave.claims import Kind
from bento.conclave.evidence import LAYOUT, MAGIC, MAX_EVIDENCE, Evidence
from bento.errors import AttestationError


def kinds_and_parts():
    def parts(kind):
        table = LAYOUT[kind][1]
        sizes = {
            p.name: st.binary(min_size=0 if p.optional else 1, max_size=min(p.limit, 80))
            for p in table
        }
        return st.fixed_dictionaries(sizes).map(lambda values: Evidence(kind, values))

    return st.sampled_from(list(Kind)).flatmap(parts)


@given(kinds_and_parts())
def test_what_is_written_is_read_back(evidence):
    again = Evidence.decode(evidence.encode())
    assert again.kind is evidence.kind
    assert dict(again.parts) == dict(evidence.parts)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda b: MAGIC + b)))
def test_any_bytes_are_evidence_in_its_one_spelling_or_refused(data):
    try:
        evidence = Evidence.decode(data)
    except AttestationError:
        return
    assert evidence.encode() == data


@given(kinds_and_parts(), st.data())
def test_evidence_cut_or_lengthened_anywhere_is_refused(evidence, data):
    raw = evidence.encode()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for changed in (raw[:cut], raw + b"\0", raw + raw):
        with pytest.raises(AttestationError):
            Evidence.decode(changed)


def test_a_part_beyond_its_limit_is_refused_before_it_is_read():
    head = MAGIC + bytes([3])  # SNP: a report has 1184 bytes
    with pytest.raises(AttestationError, match="limit 1184"):
        Evidence.decode(head + struct.pack(">I", 2**31) + bytes(10))


def test_an_oversized_container_is_refused():
    with pytest.raises(AttestationError, match="more than"):
        Evidence.decode(MAGIC + bytes(MAX_EVIDENCE))


@pytest.mark.parametrize("number", sorted(set(range(256)) - {n for n, _ in LAYOUT.values()}))
def test_unknown_kinds_are_refused(number):
    raw = bytearray(samples.emulated().encode())
    raw[len(MAGIC)] = number
    with pytest.raises(AttestationError, match="unknown kind"):
        Evidence.decode(bytes(raw))


def test_numbers_of_kinds_never_change():
    assert {kind.value: number for kind, (number, _) in LAYOUT.items()} == {
        "sgx": 1,
        "tdx": 2,
        "snp": 3,
        "tpm": 4,
        "emulated": 0xEE,
    }


def test_missing_parts_are_refused():
    with pytest.raises(AttestationError, match="wrong parts"):
        Evidence(Kind.SNP, {"report": b"x"})
    with pytest.raises(AttestationError, match="missing"):
        Evidence(Kind.SNP, {"report": b"x", "key_certificate": b"", "crl": b""})
