"""`bento attest --file` on real evidence, and `bentod attest --dump` of what a box would show."""

import json

import pytest
from tests.conclave.samples import FOLDER
from tests.e2e.command import bento

SGX = (FOLDER / "sgx_quote", "--collateral", FOLDER / "sgx_quote_collateral.json")
TDX = (FOLDER / "tdx_quote", "--collateral", FOLDER / "tdx_quote_collateral.json")
AT = ("--at", "2025-07-19T09:00")
BOX = """
name = "box"
state = "{folder}/state"
run = "{folder}/run"
[entrance.circuit]
[tor]
relay_control = "unix:/nowhere"
[conclave]
attester = "{attester}"
"""


def policy(folder, **lines):
    path = folder / "policy.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


def test_real_evidence_is_judged_and_every_refusal_named():
    done = bento("attest", "--file", *TDX, *AT)
    assert done.status == 15
    out = done.out.decode()
    assert "TDX on Intel" in out
    assert "[runtimes]" in out
    assert "your trust policy refuses it" in out


def test_evidence_is_accepted_when_the_policy_names_its_runtime(tmp_path):
    facts = bento("attest", "--json", "--file", *TDX, *AT).json["facts"]
    trusting = policy(tmp_path, runtimes=[facts["runtime"]], max_collateral_age_s=40 * 86400)
    done = bento("attest", "--json", "--trust", trusting, "--file", *TDX, *AT)
    assert (done.status, done.json["accepted"]) == (0, True)


def test_evidence_that_does_not_verify_has_no_verdict():
    """At today's clock the sample's collateral has expired."""
    done = bento("attest", "--file", *SGX)
    assert (done.status, done.out) == (15, b"")
    assert "error: " in done.err


@pytest.mark.parametrize("words", [(), ("box0", "--file", "x")])
def test_a_box_or_a_file_is_named(words):
    assert bento("attest", *words).status == 2


def test_a_dump_of_a_box_is_judged_elsewhere(tmp_path):
    config = tmp_path / "bentod.toml"
    config.write_text(BOX.format(folder=tmp_path, attester="emulated"))
    made = bento("attest", "--config", config, "--dump", tmp_path / "dump", program=BENTOD)
    assert made.status == 0, made.err
    evidence = tmp_path / "dump" / "evidence.bento"
    root = str(tmp_path / "state" / "emulated" / "root.pem")
    trusting = policy(tmp_path, families=["emulated"], min_level="emulated", emulated_root=root)
    done = bento("attest", "--json", "--trust", trusting, "--file", evidence)
    assert (done.status, done.json["accepted"]) == (0, True)
    assert done.json["facts"]["published runtime"] == "yes"
    assert "EMULATED" in done.json["summary"]


def test_a_box_without_an_attester_has_nothing_to_dump(tmp_path):
    config = tmp_path / "bentod.toml"
    config.write_text(BOX.format(folder=tmp_path, attester="none"))
    done = bento("attest", "--config", config, "--dump", tmp_path / "dump", program=BENTOD)
    assert done.status == 2


BENTOD = "bento.cli.bentod"
