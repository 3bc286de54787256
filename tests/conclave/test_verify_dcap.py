"""SGX and TDX: real quotes verify at their own time; every bad state of the world is refused."""

import datetime as dt

import pytest
from tests.conclave import samples
from tests.conclave.samples import MEASUREMENT, NOW, REPORT_DATA, platform

from bento.conclave import chains
from bento.conclave.appraise import Roots, appraise
from bento.conclave.attesters import emulated_pki
from bento.conclave.attesters.emulated import Condition, EmulatedPlatform, dcap_evidence
from bento.conclave.claims import Kind, Level
from bento.conclave.evidence import Evidence
from bento.errors import AttestationError, HostError

DAY = 86400


def judge(condition=None, *, now=NOW, roots=None, quote=None, at=NOW, days=30):
    quote = quote or platform().quote(MEASUREMENT, REPORT_DATA)
    collateral = platform().collateral(at, condition, days)
    evidence = dcap_evidence(Kind.EMULATED, quote, collateral)
    return appraise(evidence, now=now, roots=roots or samples.roots())


# --- real hardware


def test_a_real_sgx_quote_says_what_it_says():
    claims = appraise(samples.sgx(), now=samples.SGX_CLOCK)
    assert claims.kind is Kind.SGX
    assert claims.level is Level.PROCESS
    assert claims.processor == "FMSPC 00A067110000"
    assert claims.tcb_status == "ConfigurationAndSWHardeningNeeded"
    assert claims.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert claims.runtime.startswith("sgx:33d8736db756ed49")
    assert claims.report_data.rstrip(b"\0") == b"Hello, world!"
    assert claims.smt is None
    assert claims.version("tcb_evaluation") == 17


def test_a_real_tdx_quote_says_what_it_says():
    claims = appraise(samples.tdx(), now=samples.TDX_CLOCK)
    assert (claims.kind, claims.level) == (Kind.TDX, Level.VM)
    assert (claims.tcb_status, claims.advisories) == ("UpToDate", ())
    assert claims.smt is True
    assert dict(claims.measurements)["mr_td"].startswith("91eb2b44d141d4ec")
    assert claims.collateral_issued < samples.TDX_CLOCK < claims.collateral_expires


def test_a_real_tdx_quote_below_every_tcb_level_is_refused():
    with pytest.raises(AttestationError, match="No matching TCB level"):
        appraise(samples.tdx_outdated(), now=samples.TDX_OLD_CLOCK)


@pytest.mark.parametrize("sample", [samples.sgx, samples.tdx])
@pytest.mark.parametrize("year", [2020, 2024, 2026, 2049])
def test_real_evidence_is_refused_outside_its_window(sample, year):
    with pytest.raises(AttestationError):
        appraise(sample(), now=int(dt.datetime(year, 11, 1, tzinfo=dt.UTC).timestamp()))


def test_real_evidence_is_refused_as_another_kind():
    sgx, tdx = samples.sgx(), samples.tdx()
    for kind, evidence in ((Kind.TDX, sgx), (Kind.SGX, tdx), (Kind.EMULATED, sgx)):
        with pytest.raises(AttestationError):
            appraise(Evidence(kind, evidence.parts), now=samples.SGX_CLOCK, roots=samples.roots())


# --- roots


def test_emulated_evidence_is_refused_unless_its_root_is_named():
    with pytest.raises(AttestationError, match="proves nothing about hardware"):
        appraise(samples.emulated(), now=NOW)
    with pytest.raises(AttestationError):
        appraise(samples.emulated(), now=NOW, roots=Roots(emulated=samples.other_platform().root))
    assert appraise(samples.emulated(), now=NOW, roots=samples.roots()).level is Level.EMULATED


def test_emulated_evidence_never_passes_for_hardware():
    with pytest.raises(AttestationError, match="trusted root"):
        appraise(Evidence(Kind.SGX, samples.emulated().parts), now=NOW, roots=samples.roots())


def test_a_root_of_another_name_cannot_be_named_as_the_emulators():
    intel = chains.pinned("intel-sgx-root")[0]
    with pytest.raises(AttestationError, match="does not sign"):
        appraise(samples.emulated(), now=NOW, roots=Roots(emulated=intel))


def test_every_emulated_certificate_says_so():
    evidence = samples.emulated()
    blob = evidence.parts["quote"] + evidence.parts["tcb_info_issuer_chain"]
    start = blob.index(b"-----BEGIN")
    import re

    from cryptography import x509

    found = re.findall(rb"-----BEGIN.*?END CERTIFICATE-----", blob[start:], re.S)
    assert len(found) == 5
    for pem in found:
        subject = x509.load_pem_x509_certificate(pem).subject.rfc4514_string()
        assert "EMULATED - NOT HARDWARE" in subject


# --- states of the world


@pytest.mark.parametrize(
    "status",
    [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    ],
)
def test_the_status_is_a_fact_for_the_policy(status):
    assert judge(Condition(status=status)).tcb_status == status


REFUSED = {
    "platform revoked": {"condition": Condition(status="Revoked")},
    "unknown status": {"condition": Condition(status="Excellent")},
    "PCK certificate revoked": {"condition": Condition(revoked=("pck",))},
    "PCK authority revoked": {"condition": Condition(revoked=("ca",))},
    "TCB signer revoked": {"condition": Condition(revoked=("tcb",))},
    "below every level": {"condition": Condition(minimum_pce=14)},
    "collateral expired": {"now": NOW + 31 * DAY},
    "collateral from the future": {"now": NOW - 2 * 3600},
    "certificates expired": {"at": NOW + 3700 * DAY, "now": NOW + 3700 * DAY},
    "clock far away": {"now": 2**62},
    "clock before 1970": {"now": -1},
    "debug enclave": {"quote": platform().quote(MEASUREMENT, REPORT_DATA, debug=True)},
    "quote of another platform": {
        "quote": samples.other_platform().quote(MEASUREMENT, REPORT_DATA)
    },
    "quote of another platform of the same root": {
        "quote": EmulatedPlatform.create(NOW, platform()).quote(MEASUREMENT, REPORT_DATA)
    },
}


@pytest.mark.parametrize("state", REFUSED)
def test_a_bad_state_is_refused(state):
    judge()
    with pytest.raises(AttestationError):
        judge(**REFUSED[state])


def test_advisories_and_evaluation_are_reported():
    claims = judge(Condition("SWHardeningNeeded", ("INTEL-SA-00615", "INTEL-SA-00289"), 12))
    assert claims.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert claims.version("tcb_evaluation") == 12


def test_the_window_is_that_of_the_oldest_and_the_first_to_end():
    claims = judge(at=NOW - 5 * DAY, days=9)
    assert claims.collateral_issued == NOW - 5 * DAY
    assert claims.collateral_expires == NOW + 4 * DAY


def test_the_window_counts_each_piece_of_collateral():
    old = platform().collateral(NOW - 5 * DAY, days=9)
    new = platform().collateral(NOW - DAY, days=3)
    quote = platform().quote(MEASUREMENT, REPORT_DATA)
    for part in ("pck_crl", "root_ca_crl"):
        mixed = dcap_evidence(Kind.EMULATED, quote, {**old, part: new[part]})
        claims = appraise(mixed, now=NOW, roots=samples.roots())
        assert claims.collateral_issued == NOW - 5 * DAY
        assert claims.collateral_expires == NOW + 2 * DAY


# --- the emulated platform on disk


def test_a_saved_platform_keeps_its_root_and_identity(tmp_path):
    platform().save(tmp_path / "p")
    again = EmulatedPlatform.load(tmp_path / "p")
    assert again.root == platform().root
    assert again.platform_id == platform().platform_id
    evidence = dcap_evidence(
        Kind.EMULATED, again.quote(MEASUREMENT, REPORT_DATA), again.collateral(NOW)
    )
    assert appraise(evidence, now=NOW, roots=samples.roots()).platform == platform().platform_id
    assert all(f.stat().st_mode & 0o077 == 0 for f in (tmp_path / "p").iterdir())


def test_a_broken_platform_folder_is_a_plain_error(tmp_path):
    with pytest.raises(HostError):
        EmulatedPlatform.load(tmp_path)
    platform().save(tmp_path)
    (tmp_path / "pck.pem").write_bytes(b"nonsense")
    with pytest.raises(HostError):
        EmulatedPlatform.load(tmp_path)


def test_object_identifiers_are_written_as_der():
    assert emulated_pki._oid("1.2.840.113741.1.13.1").hex() == ("06092a864886f84d010d01")
