"""R16: every single-field change of evidence or collateral is refused.

Systematic: each field of each kind of evidence, changed in four ways: one bit flipped (first,
middle, last byte), dropped, taken from an older moment of the same platform, taken from another
platform. Judged as a client judges: verifier, binding, trust policy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest
from tests.conclave import samples, snp_maker, tpm_maker
from tests.conclave.samples import NOW, REPORT_DATA

from bento.conclave.appraise import appraise, check_binding
from bento.conclave.attesters.emulated import Condition, EmulatedPlatform, dcap_evidence
from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence
from bento.conclave.trust import DAY, Session, TrustPolicy, evaluate
from bento.conclave.verify_snp import verify_snp
from bento.errors import AttestationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bento.conclave.claims import Claims

Span = tuple[str, int, int]  # part, first byte, byte after the last


@dataclass(frozen=True)
class Subject:
    """Good evidence, evidence to take fields from, and a client's whole judgement."""

    good: Evidence
    stale: Evidence | None
    other: Evidence
    now: int
    verify: Callable[[Evidence, int], Claims]
    verified: dict[bytes, Claims] = dataclasses.field(default_factory=dict)

    def _wanted(self, reference: Evidence) -> Claims:
        """What the reference says; verified once."""
        key = reference.encode()
        if key not in self.verified:
            self.verified[key] = self.verify(reference, self.now)
        return self.verified[key]

    def judge(self, evidence: Evidence, reference: Evidence) -> None:
        evidence = Evidence.decode(evidence.encode())
        claims = self.verify(evidence, self.now)
        wanted = self._wanted(reference)
        check_binding(claims, wanted.report_data)
        policy = TrustPolicy().override(
            families=list(Kind),
            min_level="none",
            refused_processors=[],
            runtimes=[wanted.runtime],
            allowed_platforms=[wanted.platform],
            tcb_statuses=[wanted.tcb_status],
            minimum_versions={"snp": {"microcode": 1}},
            max_collateral_age_s=40 * DAY,
            require_revocation=wanted.revocation_checked,
        )
        session = Session(age=0, post_quantum=True)
        evaluate(policy, claims, now=self.now, session=session).require()


@cache
def subjects() -> dict[str, Subject]:
    return {
        "emulated": _emulated(),
        "sgx": _real(samples.sgx(), samples.tdx(), samples.SGX_CLOCK),
        "tdx": _real(samples.tdx(), samples.sgx(), samples.TDX_CLOCK),
        "snp": _snp(),
        "snp milan": _milan(),
        "tpm": _tpm(),
    }


def _emulated() -> Subject:
    """The other platform has the same root, so only its own fields tell it apart; its root's
    revocation list would be the same, so that one is of another root. The older moment is before
    a restart, which changes the attestation key.
    """
    platform = samples.platform()
    other = EmulatedPlatform.create(NOW, platform)
    restarted = EmulatedPlatform(platform._identities, platform._ppid)
    foreign = samples.other_platform().collateral(NOW)
    older = NOW - 35 * DAY

    def evidence(source: EmulatedPlatform, report_data: bytes, at: int, name: bytes) -> Evidence:
        measurement = hashlib.sha256(name).digest()
        collateral = source.collateral(at, Condition(evaluation=16 if at < NOW else 17))
        return dcap_evidence(Kind.EMULATED, source.quote(measurement, report_data), collateral)

    return Subject(
        evidence(platform, REPORT_DATA, NOW, b"runtime"),
        evidence(restarted, bytes(64), older, b"older runtime"),
        evidence(other, bytes(range(64)), NOW - 1, b"other runtime").replace(
            root_ca_crl=foreign["root_ca_crl"]
        ),
        NOW,
        lambda e, now: appraise(e, now=now, roots=samples.roots()),
    )


def _real(good: Evidence, other: Evidence, now: int) -> Subject:
    return Subject(good, None, other, now, lambda e, at: appraise(e, now=at))


def _snp() -> Subject:
    amd, other = snp_maker.amd(), snp_maker.other_amd()
    return Subject(
        amd.evidence(),
        amd.evidence(
            crl=amd.crl(days=-0.5), key=amd.vcek(start=-30, end=-1), report_data=bytes(64)
        ),
        other.evidence(report_data=bytes(range(64)), measurement=bytes(48)),
        NOW,
        lambda e, now: verify_snp(e, now, amd.roots()),
    )


def _milan() -> Subject:
    return Subject(
        samples.milan(),
        None,
        samples.milan_debug(),
        samples.SNP_CLOCK,
        lambda e, now: appraise(e, now=now),
    )


def _tpm() -> Subject:
    tpm, other = tpm_maker.tpm(), tpm_maker.TpmLike()
    old = tpm.certificate(start=-30, end=-1)
    return Subject(
        tpm.evidence(),
        tpm.evidence(certificate=old, report_data=bytes(64), clock=99, crl=tpm.crl(days=-0.5)),
        other.evidence(report_data=bytes(range(64)), clock=7),
        NOW,
        lambda e, now: appraise(e, now=now, roots=tpm.roots()),
    )


# --- fields: name -> where it lies in which part

_HEADER = {
    "version": (0, 2),
    "key_type": (2, 4),
    "tee_type": (4, 8),
    "qe_svn": (8, 10),
    "pce_svn": (10, 12),
    "qe_vendor": (12, 28),
    "user_data": (28, 48),
}
_ENCLAVE = {
    "cpu_svn": (0, 16),
    "misc_select": (16, 20),
    "reserved1": (20, 48),
    "attributes": (48, 64),
    "mr_enclave": (64, 96),
    "reserved2": (96, 128),
    "mr_signer": (128, 160),
    "reserved3": (160, 256),
    "isv_prod_id": (256, 258),
    "isv_svn": (258, 260),
    "reserved4": (260, 320),
    "report_data": (320, 384),
}
_TD = {
    "tee_tcb_svn": (0, 16),
    "mr_seam": (16, 64),
    "mr_signer_seam": (64, 112),
    "seam_attributes": (112, 120),
    "td_attributes": (120, 128),
    "xfam": (128, 136),
    "mr_td": (136, 184),
    "mr_config_id": (184, 232),
    "mr_owner": (232, 280),
    "mr_owner_config": (280, 328),
    "rt_mr0": (328, 376),
    "rt_mr1": (376, 424),
    "rt_mr2": (424, 472),
    "rt_mr3": (472, 520),
    "report_data": (520, 584),
}
_SNP_REPORT = {
    "version": (0, 4),
    "guest_svn": (4, 8),
    "policy": (8, 16),
    "family_id": (0x10, 0x20),
    "image_id": (0x20, 0x30),
    "vmpl": (0x30, 0x34),
    "signature_algorithm": (0x34, 0x38),
    "current_tcb": (0x38, 0x40),
    "platform_info": (0x40, 0x48),
    "key_info": (0x48, 0x4C),
    "report_data": (0x50, 0x90),
    "measurement": (0x90, 0xC0),
    "host_data": (0xC0, 0xE0),
    "id_key_digest": (0xE0, 0x110),
    "author_key_digest": (0x110, 0x140),
    "report_id": (0x140, 0x160),
    "report_id_ma": (0x160, 0x180),
    "reported_tcb": (0x180, 0x188),
    "cpuid": (0x188, 0x18B),
    "chip_id": (0x1A0, 0x1E0),
    "committed_tcb": (0x1E0, 0x1E8),
    "launch_tcb": (0x1F0, 0x1F8),
    "reserved": (0x1F8, 0x2A0),
    "signature_r": (0x2A0, 0x2E8),
    "signature_s": (0x2E8, 0x330),
    "padding": (0x330, 0x4A0),
}


def fields(evidence: Evidence) -> dict[str, Span]:
    """Every part, and every field inside the parts that have inner fields."""
    found = {part: (part, 0, len(data)) for part, data in evidence.parts.items() if data}
    for part, data in evidence.parts.items():
        for name, start, end in _inner(evidence.kind, part, data):
            found[f"{part}.{name}"] = (part, start, end)
    return found


def _inner(kind: Kind, part: str, data: bytes) -> Iterator[tuple[str, int, int]]:
    if part == "quote" and kind is not Kind.TPM:
        yield from _quote_fields(data)
    elif part == "report":
        yield from ((name, *span) for name, span in _SNP_REPORT.items())
    elif part in ("tcb_info", "qe_identity"):
        yield from _json_fields(data)
    elif part.endswith("chain"):
        yield from _pem_fields(data, 0)
    elif part == "quote":
        yield from _tpm_fields(data)
    elif part == "pcrs":
        yield from ((f"register{data[at]}", at + 1, at + 33) for at in range(0, len(data), 33))


def _quote_fields(data: bytes) -> Iterator[tuple[str, int, int]]:
    yield from ((name, *span) for name, span in _HEADER.items())
    tdx = data[4] == 0x81
    body = _TD if tdx else _ENCLAVE
    yield from ((name, 48 + a, 48 + b) for name, (a, b) in body.items())
    at = 48 + (584 if tdx else 384)
    yield "signature_length", at, at + 4
    yield "signature", at + 4, at + 68
    yield "attestation_key", at + 68, at + 132
    at += 132
    if tdx:
        yield "certification_type", at, at + 2
        yield "certification_length", at + 2, at + 6
        at += 6
    yield from ((f"qe.{name}", at + a, at + b) for name, (a, b) in _ENCLAVE.items())
    yield "qe_signature", at + 384, at + 448
    (size,) = struct.unpack_from("<H", data, at + 448)
    yield "qe_auth_length", at + 448, at + 450
    yield "qe_auth", at + 450, at + 450 + size
    at += 450 + size
    yield "chain_type", at, at + 2
    yield "chain_length", at + 2, at + 6
    yield from _pem_fields(data, at + 6)


def _pem_fields(data: bytes, at: int) -> Iterator[tuple[str, int, int]]:
    end, number = b"-----END CERTIFICATE-----\n", 0
    while (stop := data.find(end, at)) >= 0:
        yield f"certificate{number}", at, stop + len(end)
        at, number = stop + len(end), number + 1


def _json_fields(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Each top-level `"key":value`, found by its spelling."""
    for key, value in json.loads(data).items():
        text = json.dumps({key: value}, separators=(",", ":"))[1:-1].encode()
        start = data.index(text)
        yield key, start, start + len(text)


def _tpm_fields(data: bytes) -> Iterator[tuple[str, int, int]]:
    layout = (
        ("magic", 4),
        ("type", 2),
        ("signer", 36),
        ("extra_data", 66),
        ("clock", 8),
        ("resets", 4),
        ("restarts", 4),
        ("safe", 1),
        ("firmware", 8),
        ("selection", 10),
        ("digest", 34),
    )
    at = 0
    for name, size in layout:
        yield name, at, at + size
        at += size
    assert at == len(data)


# --- the four changes


def flipped(subject: Subject, span: Span, _name: str) -> Iterator[Evidence]:
    part, start, end = span
    data = subject.good.parts[part]
    for bit in {start * 8, (start + end) // 2 * 8 + 5, end * 8 - 1}:
        yield subject.good.replace(**{part: samples.flip(data, bit)})


def dropped(subject: Subject, span: Span, _name: str) -> Iterator[Evidence]:
    part, start, end = span
    data = subject.good.parts[part]
    yield subject.good.replace(**{part: data[:start] + data[end:]})
    yield subject.good.replace(**{part: data[:start] + bytes(end - start) + data[end:]})


def _taken(subject: Subject, source: Evidence | None, span: Span, name: str) -> Iterator[Evidence]:
    there = fields(source).get(name) if source else None
    if source is None or there is None:
        return
    part, start, end = span
    taken = source.parts[there[0]][there[1] : there[2]]
    data = subject.good.parts[part]
    yield subject.good.replace(**{part: data[:start] + taken + data[end:]})


def stale(subject: Subject, span: Span, name: str) -> Iterator[Evidence]:
    return _taken(subject, subject.stale, span, name)


def other(subject: Subject, span: Span, name: str) -> Iterator[Evidence]:
    return _taken(subject, subject.other, span, name)


CHANGES = (flipped, dropped, stale, other)
NAMES = ("emulated", "sgx", "tdx", "snp", "snp milan", "tpm")


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_r16_every_single_field_change_is_refused(name, change):
    subject = subjects()[name]
    subject.judge(subject.good, subject.good)
    accepted, tried = [], 0
    for field, span in fields(subject.good).items():
        try:
            variants = list(change(subject, span, field))
        except AttestationError:
            continue  # the container itself refuses such a part
        for changed in variants:
            if changed.parts == subject.good.parts:
                continue  # that field happens to be the same in both
            tried += 1
            try:
                subject.judge(changed, subject.good)
                accepted.append(field)
            except AttestationError:
                pass
    assert not accepted
    assert tried or (change is stale and subject.stale is None)


def test_r16_the_fields_cover_every_byte_of_quotes_and_reports():
    for name, part in (("sgx", "quote"), ("tdx", "quote"), ("tpm", "quote"), ("tpm", "pcrs")):
        evidence = subjects()[name].good
        inner = {n: span for n, span in fields(evidence).items() if "." in n and span[0] == part}
        covered = set().union(*(range(start, end) for _, start, end in inner.values()))
        missing = set(range(len(evidence.parts[part]))) - covered
        # Register numbers, and the NUL bytes Intel puts behind a chain.
        assert len(missing) <= (5 if part == "pcrs" else 2), (name, sorted(missing)[:9])


def _flip_everywhere(name: str, step: int) -> list[int]:
    subject = subjects()[name]
    raw = subject.good.encode()
    accepted = []
    for bit in range(0, len(raw) * 8, step):
        try:
            subject.judge(Evidence.decode(samples.flip(raw, bit)), subject.good)
            accepted.append(bit)
        except AttestationError:
            pass
    return accepted


@pytest.mark.parametrize("name", NAMES)
def test_r16_flipped_bits_are_refused(name):
    """About 200 bits over the whole container; the campaign flips every one."""
    size = len(subjects()[name].good.encode()) * 8
    assert _flip_everywhere(name, size // 200 | 1) == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", NAMES)
def test_r16_every_flipped_bit_is_refused(name):
    assert _flip_everywhere(name, 1) == []
