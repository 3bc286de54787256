"""The trust policy: deny by default, each refusal names its line, a file's errors are plain."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conclave import samples, snp_maker, tpm_maker
from tests.conclave.samples import NOW

from bento.conclave.appraise import appraise
from bento.conclave.attesters.emulated_pki import pem
from bento.conclave.claims import Kind
from bento.conclave.trust import (
    DAY,
    Session,
    TrustPolicy,
    evaluate,
    evaluate_plain,
    evaluate_spread,
    load_policy,
    parse_policy,
)
from bento.conclave.trust_rules import RULES
from bento.conclave.verify_snp import verify_snp
from bento.errors import AttestationError, HostError, UsageError

GOOD_SESSION = Session(age=1, post_quantum=True)


def tdx_claims():
    return appraise(samples.tdx(), now=samples.TDX_CLOCK)


# Everything the real TDX sample needs beyond the default: its runtime and its old collateral.
OPEN = TrustPolicy().override(runtimes=[tdx_claims().runtime], max_collateral_age_s=31 * DAY)


def judge(policy=OPEN, claims=None, session=GOOD_SESSION, now=samples.TDX_CLOCK, **kw):
    return evaluate(policy, claims or tdx_claims(), now=now, session=session, **kw)


def lines(verdict):
    return [refusal.line for refusal in verdict.refusals]


def test_real_tdx_evidence_is_accepted_once_its_runtime_is_named():
    verdict = judge()
    assert verdict.accepted
    verdict.require()


def test_the_default_policy_trusts_no_runtime_but_published_ones():
    policy = TrustPolicy().override(max_collateral_age_s=31 * DAY)
    assert lines(judge(policy)) == ["runtimes"]
    published = frozenset((tdx_claims().runtime,))
    assert judge(policy, published=published).accepted
    closed = policy.override(published_runtimes=False)
    assert lines(judge(closed, published=published)) == ["runtimes"]


# One change of policy or facts -> the one line that must object.
CHANGES = {
    "families": {"policy": OPEN.override(families=["sgx"])},
    "min_level": {"policy": OPEN.override(min_level="process")},
    "refused_processors": {"policy": OPEN.override(refused_processors=["fmspc b0c06f000000"])},
    "runtimes": {"policy": OPEN.override(runtimes=[])},
    "tcb_statuses": {"claims": replace(tdx_claims(), tcb_status="OutOfDate")},
    "refused_advisories": {
        "policy": OPEN.override(refused_advisories=["INTEL-SA-1"]),
        "claims": replace(tdx_claims(), advisories=("INTEL-SA-1",)),
    },
    "minimum_versions": {"policy": OPEN.override(minimum_versions={"tdx": {"tcb_evaluation": 18}})},
    "smt": {"policy": OPEN.override(smt=False)},
    "allowed_platforms": {"policy": OPEN.override(allowed_platforms=["00"])},
    "refused_platforms": {"policy": OPEN.override(refused_platforms=[tdx_claims().platform])},
    "session_only": {"session": None},
    "max_evidence_age_s": {"session": Session(301, True)},
    "max_collateral_age_s": {"policy": OPEN.override(max_collateral_age_s=DAY)},
    "require_revocation": {"claims": replace(tdx_claims(), revocation_checked=False)},
    "post_quantum": {"session": Session(1, False)},
}


def test_every_rule_has_its_case():
    assert set(CHANGES) == {line for line, _ in RULES}


@pytest.mark.parametrize("line", CHANGES)
def test_each_rule_refuses_alone_and_names_its_line(line):
    verdict = judge(**CHANGES[line])
    assert lines(verdict) == [line]
    with pytest.raises(AttestationError, match=rf"\[{line}\]"):
        verdict.require()


def test_every_line_of_the_policy_is_a_rule_or_a_known_exception():
    beyond = {
        "published_runtimes",
        "distinct_vendors",
        "plain_container",
        "emulated_root",
        "tpm_roots",
    }
    assert set(TrustPolicy.__struct_fields__) == {line for line, _ in RULES} | beyond


def test_all_refusals_are_told_at_once():
    verdict = judge(OPEN.override(families=[], smt=False, runtimes=[]), session=None)
    assert lines(verdict) == ["families", "runtimes", "smt", "session_only"]


def test_unknown_multithreading_counts_as_on():
    claims = replace(tdx_claims(), smt=None)
    assert lines(judge(OPEN.override(smt=False), claims)) == ["smt"]
    assert judge(OPEN.override(smt=False), replace(claims, smt=False)).accepted


def test_evidence_of_the_future_is_refused():
    assert lines(judge(session=Session(-1, True))) == ["max_evidence_age_s"]


def test_the_real_sgx_sample_needs_its_status_allowed():
    claims = appraise(samples.sgx(), now=samples.SGX_CLOCK)
    policy = OPEN.override(runtimes=[claims.runtime])
    assert lines(judge(policy, claims)) == ["tcb_statuses"]
    assert judge(
        policy.override(tcb_statuses=["ConfigurationAndSWHardeningNeeded"]), claims
    ).accepted


def test_milan_is_refused_by_default_even_with_good_firmware():
    claims = appraise(samples.milan(), now=samples.SNP_CLOCK)
    minimum = {"milan": {"microcode": 1, "snp": 1}}
    policy = TrustPolicy().override(
        runtimes=[claims.runtime], minimum_versions=minimum, require_revocation=False
    )
    assert lines(judge(policy, claims)) == ["refused_processors"]
    assert judge(policy.override(refused_processors=[]), claims).accepted


def test_snp_without_a_named_minimum_is_refused():
    maker = snp_maker.amd()
    claims = verify_snp(maker.evidence(), NOW, maker.roots("genoa"))
    policy = TrustPolicy().override(runtimes=[claims.runtime])
    assert lines(judge(policy, claims, now=NOW)) == ["minimum_versions"]
    for microcode, refused in ((115, []), (116, ["minimum_versions"])):
        named = policy.override(minimum_versions={"genoa": {"microcode": microcode}})
        assert lines(judge(named, claims, now=NOW)) == refused
    absent = policy.override(minimum_versions={"genoa": {"fmc": 0}})
    assert lines(judge(absent, claims, now=NOW)) == ["minimum_versions"]


def test_a_tpm_is_below_the_default_level():
    claims = appraise(tpm_maker.tpm().evidence(), now=NOW, roots=tpm_maker.tpm().roots())
    policy = TrustPolicy().override(runtimes=[claims.runtime])
    assert lines(judge(policy, claims, now=NOW)) == ["families", "min_level"]


def test_emulated_is_refused_unless_allowed_by_name():
    claims = appraise(samples.emulated(), now=NOW, roots=samples.roots())
    published = frozenset((claims.runtime,))
    verdict = judge(TrustPolicy(), claims, now=NOW, published=published)
    assert lines(verdict) == ["families", "min_level"]
    allowed = TrustPolicy().allowing_emulated()
    verdict = judge(allowed, claims, now=NOW, published=published)
    assert verdict.accepted
    assert "EMULATED: the operator can read everything" in verdict.summary


def test_a_verdict_is_one_line_and_a_full_list():
    verdict = judge()
    assert "\n" not in verdict.summary
    assert "not one who opens the machine" in verdict.summary
    facts = dict(verdict.facts)
    assert facts["firmware status"] == "UpToDate"
    assert facts["measured mr_td"].startswith("91eb2b44")
    assert facts["bound to this channel"] == "yes"
    assert dict(judge(session=None).facts)["bound to this channel"].startswith("no")


def test_a_box_without_conclave_is_refused_unless_allowed():
    assert lines(evaluate_plain(TrustPolicy())) == ["plain_container"]
    assert evaluate_plain(TrustPolicy().override(plain_container=True)).accepted


def test_shares_are_spread_so_that_no_vendor_holds_enough():
    intel, amd = "Intel", "AMD"
    strict = TrustPolicy().override(distinct_vendors=True)
    assert evaluate_spread(strict, [intel, amd, intel, amd], 3).accepted
    assert lines(evaluate_spread(strict, [intel, amd, intel, intel], 3)) == ["distinct_vendors"]
    assert evaluate_spread(TrustPolicy(), [intel] * 4, 3).accepted


# --- the file


def test_a_file_with_an_override_for_one_call(tmp_path):
    path = tmp_path / "trust.toml"
    path.write_text('families = ["sgx"]\nsmt = false\n[minimum_versions.sgx]\nisv = 3\n')
    policy = load_policy(path)
    assert policy.families == {Kind.SGX}
    assert policy.minimum_versions == {"sgx": {"isv": 3}}
    once = load_policy(path, ["smt = true", 'families = ["tdx"]'])
    assert once.smt
    assert once.families == {Kind.TDX}
    assert once.minimum_versions == policy.minimum_versions


@pytest.mark.parametrize(
    "text",
    [
        "familes = []",
        'families = ["sev"]',
        'families = "sgx"',
        "smt = 1",
        'min_level = "high"',
        "max_evidence_age_s = -1",
        'runtimes = ["sgx:12"]',
        'runtimes = ["33d8"]',
        'refused_processors = ["Milan"]',
        "[minimum_versions]\ngenoa = 3",
        "[minimum_versions.genoa]\nmicrocode = -1",
        "[debug]\nallowed = true",
        "families = [",
        "x = " + "[" * 5000,
    ],
)
def test_a_wrong_file_is_a_plain_error(text):
    with pytest.raises(UsageError):
        parse_policy(text)


def test_a_missing_or_unreadable_file_is_a_plain_error(tmp_path):
    with pytest.raises(HostError):
        load_policy(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(HostError):
        load_policy(tmp_path / "x.toml")


def test_roots_are_read_beside_the_policy(tmp_path):
    (tmp_path / "root.pem").write_bytes(pem(samples.platform().root))
    policy = parse_policy('emulated_root = "root.pem"\ntpm_roots = ["root.pem"]')
    assert policy.roots(tmp_path).emulated == samples.platform().root
    assert len(policy.roots(tmp_path).tpm) == 1
    with pytest.raises(HostError):
        policy.roots(tmp_path / "elsewhere")


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_plain_error(text):
    try:
        parse_policy(text)
    except UsageError:
        pass


@given(st.booleans(), st.integers(0, 9))
def test_overriding_a_line_changes_only_it(flag, age):
    changed = OPEN.override(smt=flag, max_evidence_age_s=age)
    before, after = msgspec.structs.asdict(OPEN), msgspec.structs.asdict(changed)
    for line in set(before) - {"smt", "max_evidence_age_s"}:
        assert before[line] == after[line]
