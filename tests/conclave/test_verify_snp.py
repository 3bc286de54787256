"""SEV-SNP: a real report verifies today; keys, firmware, chip, revocation and debug are checked."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.conclave import samples, snp_maker
from tests.conclave.samples import NOW, REPORT_DATA
from tests.conclave.snp_maker import amd, other_amd

from bento.conclave import chains
from bento.conclave.appraise import appraise
from bento.conclave.claims import UNRATED, Kind, Level
from bento.conclave.verify_snp import amd_roots, verify_snp
from bento.errors import AttestationError


def judge(product="milan", **kw):
    return verify_snp(amd().evidence(**kw), NOW, amd().roots(product))


def test_a_real_milan_report_says_what_it_says():
    claims = appraise(samples.milan(), now=samples.SNP_CLOCK)
    assert (claims.kind, claims.level, claims.processor) == (Kind.SNP, Level.VM, "milan")
    assert dict(claims.versions) == {
        "boot_loader": 3,
        "tee": 0,
        "snp": 8,
        "microcode": 115,
        "guest": 0,
    }
    assert claims.smt is True
    assert claims.tcb_status == UNRATED
    assert claims.platform.startswith("d49554ec717f4e5b")
    assert claims.revocation_checked is False


def test_a_real_debug_guest_is_refused():
    with pytest.raises(AttestationError, match="debugging"):
        appraise(samples.milan_debug(), now=samples.SNP_CLOCK)


def test_a_real_report_with_the_key_of_another_chip_is_refused():
    mixed = samples.milan().replace(key_certificate=samples.data("vcek_milan_debug.der"))
    with pytest.raises(AttestationError):
        appraise(mixed, now=samples.SNP_CLOCK)


def test_a_real_turin_key_chains_to_the_turin_root():
    key = chains.read_der(samples.data("vcek_turin.der"), "key")
    _ark, ask, _asvk = amd_roots()["turin"]
    chains.check_issued(key, ask, "key")
    with pytest.raises(AttestationError):
        chains.check_issued(key, amd_roots()["genoa"][1], "key")


@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_the_pinned_chains_hold(product):
    ark, ask, asvk = amd_roots()[product]
    for child in (ark, ask, asvk):
        chains.check_issued(child, ark, product)
        chains.check_valid(child, samples.SNP_CLOCK, product)


def test_a_made_report_verifies_with_everything_checked():
    claims = judge()
    assert claims.revocation_checked
    assert claims.report_data == REPORT_DATA
    assert claims.version("guest") == 7


def test_a_turin_report_has_its_own_firmware_order():
    kw = {
        "version": 3,
        "cpuid": bytes([0x1A, 0x02, 0x01]),
        "tcb": snp_maker.TURIN_TCB,
        "chip": snp_maker.TURIN_CHIP,
        "key": amd().vcek(snp_maker.turin_tcb(), snp_maker.TURIN_CHIP[:8]),
    }
    claims = judge("turin", **kw)
    assert claims.processor == "turin"
    assert claims.version("fmc") == 1
    with pytest.raises(AttestationError, match="another processor"):
        judge("milan", **kw)


def test_a_vlek_report_needs_the_other_intermediate_and_a_provider():
    assert judge(key=amd().vlek(), key_info=1 << 2).platform.startswith("vlek:")
    with pytest.raises(AttestationError, match="no cloud provider"):
        judge(key=amd().vlek(csp=False), key_info=1 << 2)
    with pytest.raises(AttestationError):
        judge(key=amd().vlek(), key_info=0)
    with pytest.raises(AttestationError):
        judge(key=amd().vcek(), key_info=1 << 2)


MORE_TCB = snp_maker.milan_tcb() | {"8": 116}
REFUSED = {
    "debug": {"policy": 0x30000 | 1 << 19},
    "migration agent": {"policy": 0x30000 | 1 << 18},
    "privilege level": {"vmpl": 1},
    "not signed": {"key_info": 7 << 2},
    "unknown signing key": {"key_info": 3 << 2},
    "unknown version": {"version": 6},
    "unknown algorithm": {"algorithm": 2},
    "unknown processor": {"version": 3, "cpuid": bytes([0x17, 0x31, 0])},
    "other firmware": {"tcb": bytes([3, 0, 0, 0, 0, 0, 8, 116])},
    "key of other firmware": {"key": amd().vcek(MORE_TCB)},
    "key lacks a version": {"key": amd().vcek({"1": 3, "2": 0, "3": 8})},
    "other chip": {"chip": bytes(64)},
    "key of a short chip id": {"key": amd().vcek(chip=snp_maker.CHIP[:7])},
    "expired key": {"key": amd().vcek(start=-20, end=-10)},
    "key of the future": {"key": amd().vcek(start=1)},
    "key of another authority": {"key": other_amd().vcek()},
    "intermediate revoked": {"crl": amd().crl(amd().ask)},
    "root revoked": {"crl": amd().crl(amd().ark)},
    "revocation list expired": {"crl": amd().crl(days=-0.5)},
    "revocation list of another authority": {"crl": other_amd().crl()},
    "revocation list in another name": {"crl": amd().crl(issuer="ASK")},
    "revocation list is noise": {"crl": b"noise"},
}


@pytest.mark.parametrize("state", REFUSED)
def test_a_bad_state_is_refused(state):
    with pytest.raises(AttestationError):
        judge(**REFUSED[state])


def test_a_clock_beyond_all_calendars_is_refused():
    for now in (2**62, 2**70, -(2**62)):
        with pytest.raises(AttestationError):
            appraise(samples.milan(), now=now)


def test_a_report_nobody_signed_says_so():
    for key in (3, 7):
        with pytest.raises(AttestationError, match="not signed by a VCEK or VLEK"):
            judge(key_info=key << 2)


def test_another_intermediate_on_the_list_does_no_harm():
    assert judge(crl=amd().crl(amd().asvk)).revocation_checked


def test_a_report_signed_by_another_key_is_refused():
    stranger = ec.generate_private_key(ec.SECP384R1())
    report = snp_maker.sign(snp_maker.body(), stranger)
    with pytest.raises(AttestationError, match="signature"):
        verify_snp(amd().evidence().replace(report=report), NOW, amd().roots())


def test_an_intermediate_that_may_not_sign_is_refused():
    public = amd().ask_key.public_key()
    plain = snp_maker.certify("ASK", public, "ARK", amd().ark_key, ca=False)
    with pytest.raises(AttestationError, match="may not sign"):
        verify_snp(amd().evidence(), NOW, {"milan": (amd().ark, plain, amd().asvk)})


def test_the_made_roots_mean_nothing_to_a_client():
    with pytest.raises(AttestationError, match="known AMD root"):
        appraise(amd().evidence(), now=NOW)


def test_a_key_that_names_a_real_authority_but_is_not_signed_by_it_is_refused():
    _, ask, _ = amd_roots()["milan"]
    forged = snp_maker.AmdLike()
    forged_ask = ask.public_bytes(Encoding.DER)
    assert forged_ask
    key = _renamed(forged, ask.subject)
    with pytest.raises(AttestationError, match="signature"):
        appraise(forged.evidence(key=key, crl=b""), now=NOW)


def _renamed(maker, issuer):
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    moment = dt.datetime.fromtimestamp(NOW, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(snp_maker.name("SEV-VCEK"))
        .issuer_name(issuer)
        .public_key(maker.key.public_key())
        .serial_number(1)
        .not_valid_before(moment - dt.timedelta(days=1))
        .not_valid_after(moment + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(False, None), True)
        .sign(maker.ask_key, hashes.SHA384(), rsa_padding=snp_maker.PSS)
        .public_bytes(Encoding.DER)
    )
