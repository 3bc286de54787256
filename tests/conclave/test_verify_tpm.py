"""TPM quotes: chain, purpose, revocation, signature, registers and clock are checked."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.conclave import samples, tpm_maker
from tests.conclave.samples import NOW, REPORT_DATA
from tests.conclave.tpm_maker import PCRS, TpmLike, tpm

from bento.conclave.appraise import Roots, appraise
from bento.conclave.claims import Kind, Level
from bento.errors import AttestationError


def judge(maker=None, **kw):
    maker = maker or tpm()
    return appraise(maker.evidence(**kw), now=NOW, roots=tpm().roots())


def test_a_good_quote_says_what_booted():
    claims = judge()
    assert (claims.kind, claims.level) == (Kind.TPM, Level.BOOT)
    assert claims.report_data == REPORT_DATA
    assert dict(claims.measurements) == {f"pcr{i}": v.hex() for i, v in PCRS.items()}
    assert claims.version("clock") == 123456
    assert claims.revocation_checked


def test_an_rsa_attestation_key_works_too():
    maker = TpmLike(rsa.generate_private_key(65537, 2048))
    assert appraise(maker.evidence(), now=NOW, roots=maker.roots()).kind is Kind.TPM


def test_without_a_named_root_no_tpm_is_believed():
    with pytest.raises(AttestationError, match="no trusted root"):
        appraise(tpm().evidence(), now=NOW)
    with pytest.raises(AttestationError):
        appraise(tpm().evidence(), now=NOW, roots=TpmLike().roots())


OTHER_PCRS = PCRS | {7: bytes(32)}
REVOKED = tpm().certificate()
REFUSED = {
    "not made by the TPM": {"magic": 0x12345678},
    "not a quote": {"kind": 0x8017},
    "unsafe clock": {"safe": 0},
    "clock byte out of range": {"safe": 2},
    "other bank": {"bank": 0x04},
    "fewer registers quoted": {"selection": (0, 2)},
    "register changed": {"pcrs": OTHER_PCRS},
    "register hidden": {"pcrs": {i: v for i, v in PCRS.items() if i}},
    "registers renamed": {"pcrs": {i + 1: v for i, v in PCRS.items()}},
    "other digest": {"digest": hashlib.sha256(b"x").digest()},
    "no purpose": {"certificate": tpm().certificate(purpose=None)},
    "other purpose": {"certificate": tpm().certificate(purpose=ExtendedKeyUsageOID.SERVER_AUTH)},
    "expired": {"certificate": tpm().certificate(start=-20, end=-10)},
    "certificate of another key": {"certificate": TpmLike().certificate()},
    "revoked": {"certificate": REVOKED, "crl": tpm().crl(REVOKED)},
    "list of another authority": {"crl": TpmLike().crl()},
}


@pytest.mark.parametrize("state", REFUSED)
def test_a_bad_state_is_refused(state):
    with pytest.raises(AttestationError):
        judge(**REFUSED[state])


def test_a_quote_over_no_register_proves_nothing():
    with pytest.raises(AttestationError):
        judge(selection=(), pcrs={0: bytes(32)})
    evidence = tpm().evidence(selection=())
    with pytest.raises(AttestationError):
        evidence.replace(pcrs=b"")


def test_a_short_rsa_key_is_refused():
    maker = TpmLike(rsa.generate_private_key(65537, 1024))
    with pytest.raises(AttestationError, match="does not fit"):
        appraise(maker.evidence(), now=NOW, roots=maker.roots())


def test_a_signature_of_another_scheme_is_refused():
    rsa_maker = TpmLike(rsa.generate_private_key(65537, 2048))
    mixed = tpm().evidence().replace(signature=rsa_maker.evidence().parts["signature"])
    with pytest.raises(AttestationError, match="does not fit"):
        appraise(mixed, now=NOW, roots=tpm().roots())


def test_an_intermediate_may_be_absent():
    maker = TpmLike()
    key = ec.generate_private_key(ec.SECP256R1())
    maker.key = key
    direct = tpm_maker.certify(
        "AK", key.public_key(), "TPM root", maker.root_key, purpose=tpm_maker.ATTESTATION_KEY
    )
    evidence = maker.evidence(certificate=direct, crl=b"").replace(ak_issuers=b"")
    assert appraise(evidence, now=NOW, roots=maker.roots()).revocation_checked is False


def test_a_certificate_that_names_another_issuer_is_refused():
    """Signed by the right key, but not in its owner's name."""
    public = tpm().key.public_key()
    strange = tpm_maker.certify(
        "AK", public, "somebody", tpm().middle_key, purpose=tpm_maker.ATTESTATION_KEY
    )
    with pytest.raises(AttestationError, match="another issuer"):
        judge(certificate=strange)


def test_too_many_or_malformed_issuers_are_refused():
    good = tpm().evidence()
    one = good.parts["ak_issuers"]
    for bad in (one * 5, one[:-1], one + b"\0", b"\x30\x03abc", one + one):
        with pytest.raises(AttestationError):
            appraise(good.replace(ak_issuers=bad), now=NOW, roots=tpm().roots())


def test_a_tpm_never_passes_for_an_emulator_or_the_reverse():
    with pytest.raises(AttestationError):
        appraise(samples.emulated(), now=NOW, roots=Roots(tpm=(samples.platform().root,)))
