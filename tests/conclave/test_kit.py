"""The evidence kit: a dump can be checked again, alone or by its parts; files are judged."""

import pytest
from tests.conclave import samples, snp_maker, tpm_maker

from bento.conclave.appraise import Roots
from bento.conclave.attesters.base import UNTESTED
from bento.conclave.attesters.survey import survey
from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence
from bento.conclave.kit import CONTAINER, judge_files, write_dump
from bento.conclave.trust import DAY, TrustPolicy
from bento.errors import AttestationError

SAMPLES = {
    "sgx": samples.sgx,
    "tdx": samples.tdx,
    "snp": samples.milan,
    "tpm": tpm_maker.tpm().evidence,
    "emulated": samples.emulated,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_dump_holds_the_container_and_every_part(name, tmp_path):
    evidence = SAMPLES[name]()
    written = write_dump(evidence, tmp_path / "dump")
    assert written[0].name == CONTAINER
    again = Evidence.decode(written[0].read_bytes())
    assert again.parts == evidence.parts
    contents = {path.read_bytes() for path in written[1:]}
    assert contents == {data for data in evidence.parts.values() if data}


def test_a_dumped_snp_report_is_checked_from_its_parts(tmp_path):
    write_dump(samples.milan(), tmp_path)
    claims, verdict = judge_files(
        TrustPolicy(),
        (tmp_path / "report.bin").read_bytes(),
        certificates=[(tmp_path / "key_certificate.der").read_bytes()],
        now=samples.SNP_CLOCK,
    )
    assert claims.processor == "milan"
    assert {r.line for r in verdict.refusals} == {
        "refused_processors",
        "runtimes",
        "minimum_versions",
        "require_revocation",
    }


def test_real_files_are_judged_at_their_time():
    files = samples.data("tdx_quote"), samples.data("tdx_quote_collateral.json")
    claims, verdict = judge_files(TrustPolicy(), *files, now=samples.TDX_CLOCK)
    assert [r.line for r in verdict.refusals] == ["runtimes", "max_collateral_age_s"]
    accepting = TrustPolicy().override(runtimes=[claims.runtime], max_collateral_age_s=31 * DAY)
    _, verdict = judge_files(accepting, *files, now=samples.TDX_CLOCK, kind=Kind.TDX)
    assert verdict.accepted
    assert dict(verdict.facts)["bound to this channel"] == "no: from a file"


def test_a_chain_file_may_hold_the_authorities_too():
    amd = snp_maker.amd()
    blob = amd.ark.public_bytes(_pem()) + amd.ask.public_bytes(_pem())
    with pytest.raises(AttestationError, match="known AMD root"):
        judge_files(TrustPolicy(), amd.report(), None, [blob, amd.vcek()], now=samples.NOW)
    with pytest.raises(AttestationError, match="0 endorsement"):
        judge_files(TrustPolicy(), amd.report(), None, [blob], now=samples.NOW)


def _pem():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


def test_a_file_of_another_kind_than_said_is_refused():
    files = samples.data("tdx_quote"), samples.data("tdx_quote_collateral.json")
    with pytest.raises(AttestationError, match="not sgx"):
        judge_files(TrustPolicy(), *files, now=samples.TDX_CLOCK, kind=Kind.SGX)
    with pytest.raises(AttestationError, match="without its collateral"):
        judge_files(TrustPolicy(), files[0], now=samples.TDX_CLOCK)


def test_an_emulated_raw_quote_must_be_called_so():
    evidence = samples.emulated()
    with pytest.raises(AttestationError):
        judge_files(TrustPolicy(), evidence.encode(), now=samples.NOW)
    roots = Roots(emulated=samples.platform().root)
    claims, verdict = judge_files(
        TrustPolicy().allowing_emulated(), evidence.encode(), now=samples.NOW, roots=roots
    )
    assert claims.kind is Kind.EMULATED
    assert [r.line for r in verdict.refusals] == ["runtimes"]


# --- what bentod check says


def test_the_survey_names_every_source_and_its_limits(tmp_path):
    found = {finding.source: finding for finding in survey(tmp_path)}
    assert list(found) == ["gramine-sgx", "tsm", "tpm", "emulated"]
    assert [f.present for f in found.values()] == [False, False, False, True]
    for untested in ("gramine-sgx", "tsm"):
        assert UNTESTED in found[untested].remark
    assert "protects nothing" in found["emulated"].remark


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dev/sgx_enclave", "gramine-sgx"),
        ("sys/kernel/config/tsm/report", "tsm"),
        ("dev/tpm0", "tpm"),
    ],
)
def test_a_device_is_seen(tmp_path, path, source):
    (tmp_path / path).mkdir(parents=True)
    assert [f.source for f in survey(tmp_path) if f.present] == [source, "emulated"]
