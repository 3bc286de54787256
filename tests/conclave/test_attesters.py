"""Sources of evidence: the emulator end to end, Gramine and configfs against stand-ins of their
documented interfaces (no such hardware here, and each says so), a real software TPM.
"""

import os
import shutil
import struct
import subprocess
import threading
import uuid
from pathlib import Path

import pytest
from tests.conclave import samples, snp_maker
from tests.conclave.samples import MEASUREMENT, NOW, REPORT_DATA

from bento.conclave.appraise import appraise
from bento.conclave.attesters import tsm
from bento.conclave.attesters.base import UNTESTED
from bento.conclave.attesters.emulated import EmulatedAttester
from bento.conclave.attesters.gramine_sgx import GramineSgxAttester
from bento.conclave.attesters.tpm import TpmAttester
from bento.conclave.attesters.tsm import TsmAttester
from bento.conclave.claims import Kind
from bento.conclave.collateral import CollateralStore
from bento.errors import AttestationError, HostError, UsageError


def store(folder: Path, **files: bytes) -> CollateralStore:
    for name, data in files.items():
        (folder / name.replace("__", ".").replace("_", "-")).write_bytes(data)
    return CollateralStore(folder)


def answer(path: Path, data: bytes) -> None:
    """`path` gives `data` to its next reader, as a kernel's attribute does."""
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_bytes(data), daemon=True).start()


# --- emulated


def test_the_emulator_measures_the_runtime_and_carries_the_report_data():
    attester = EmulatedAttester(samples.platform(), MEASUREMENT, NOW)
    claims = appraise(attester.evidence(REPORT_DATA), now=NOW, roots=samples.roots())
    assert claims.runtime == f"emulated:{MEASUREMENT.hex()}"
    assert claims.report_data == REPORT_DATA
    assert "protects nothing" in attester.remark


def test_the_emulators_collateral_can_be_refreshed():
    later = NOW + 40 * 86400
    attester = EmulatedAttester(samples.platform(), MEASUREMENT, NOW)
    with pytest.raises(AttestationError):
        appraise(attester.evidence(REPORT_DATA), now=later, roots=samples.roots())
    attester.refresh(later)
    appraise(attester.evidence(REPORT_DATA), now=later, roots=samples.roots())


# --- Gramine


@pytest.fixture
def gramine(tmp_path):
    device = tmp_path / "attestation"
    device.mkdir()
    (device / "attestation_type").write_text("dcap\n")
    (device / "user_report_data").write_bytes(b"")
    answer(device / "quote", samples.data("sgx_quote"))
    collateral = store(tmp_path, dcap__json=samples.data("sgx_quote_collateral.json"))
    return GramineSgxAttester(collateral, device), device


def test_gramine_is_asked_as_documented(gramine):
    attester, device = gramine
    evidence = attester.evidence(REPORT_DATA)
    assert (device / "user_report_data").read_bytes() == REPORT_DATA
    assert evidence.encode() == samples.sgx().encode()
    appraise(evidence, now=samples.SGX_CLOCK)


def test_gramine_without_dcap_or_device_is_a_plain_error(gramine, tmp_path):
    attester, device = gramine
    (device / "attestation_type").write_text("none")
    with pytest.raises(HostError, match="without DCAP"):
        attester.evidence(REPORT_DATA)
    with pytest.raises(HostError, match="does not answer"):
        GramineSgxAttester(CollateralStore(tmp_path), tmp_path / "none").evidence(REPORT_DATA)


# --- configfs


@pytest.fixture
def configfs(tmp_path, monkeypatch):
    """A folder whose new entries have the attributes the kernel gives them."""
    attributes = {"provider": b"tdx_guest\n", "generation": b"1\n", "auxblob": b"", "outblob": b""}
    seen = {}

    def mkdir(path):
        Path(path).mkdir()
        for name, data in attributes.items():
            answer(Path(path) / name, data)
        (Path(path) / "inblob").write_bytes(b"")

    def rmdir(path):
        seen["inblob"] = (Path(path) / "inblob").read_bytes()
        shutil.rmtree(path)

    monkeypatch.setattr(tsm, "make_entry", mkdir)
    monkeypatch.setattr(tsm, "remove_entry", rmdir)
    return tmp_path, attributes, seen


def test_tdx_is_asked_as_documented(configfs, tmp_path):
    folder, attributes, seen = configfs
    attributes["outblob"] = samples.data("tdx_quote")
    collateral = store(tmp_path, dcap__json=samples.data("tdx_quote_collateral.json"))
    evidence = TsmAttester(Kind.TDX, collateral, folder).evidence(REPORT_DATA)
    assert seen["inblob"] == REPORT_DATA
    appraise(evidence, now=samples.TDX_CLOCK)
    assert not list(folder.glob("bento-*"))


def table(*entries) -> bytes:
    size = 24 * (len(entries) + 1)
    head, body = b"", b""
    for key_id, data in entries:
        head += uuid.UUID(key_id).bytes + struct.pack("<II", size + len(body), len(data))
        body += data
    return head + bytes(24) + body


VCEK_ID = "63da758d-e664-4564-adc5-f4b93be8accd"
ASK_ID = "4ab7b379-bbac-4fe4-a02f-05aef327c782"


def test_snp_takes_its_key_from_the_kernels_table(configfs, tmp_path):
    folder, attributes, _ = configfs
    attributes["provider"] = b"sev_guest\n"
    attributes["outblob"] = samples.milan().parts["report"]
    attributes["auxblob"] = table((ASK_ID, b"ask"), (VCEK_ID, samples.data("vcek_milan.der")))
    evidence = TsmAttester(Kind.SNP, CollateralStore(tmp_path), folder).evidence(REPORT_DATA)
    assert evidence.encode() == samples.milan().encode()
    appraise(evidence, now=samples.SNP_CLOCK)


def test_snp_without_a_table_takes_the_key_from_the_box(configfs, tmp_path):
    folder, attributes, _ = configfs
    amd = snp_maker.amd()
    attributes["provider"] = b"sev_guest\n"
    attributes["outblob"] = amd.report()
    collateral = store(tmp_path, snp_key__der=amd.vcek(), snp__crl=amd.crl())
    evidence = TsmAttester(Kind.SNP, collateral, folder).evidence(REPORT_DATA)
    assert evidence.parts["crl"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("provider", b"sev_guest\n"), ("generation", b"2\n"), ("outblob", bytes(32 * 1024 + 1))],
)
def test_a_strange_answer_of_the_kernel_is_refused(configfs, tmp_path, name, value):
    folder, attributes, _ = configfs
    attributes["outblob"] = samples.data("tdx_quote")
    attributes[name] = value
    collateral = store(tmp_path, dcap__json=samples.data("tdx_quote_collateral.json"))
    with pytest.raises(HostError):
        TsmAttester(Kind.TDX, collateral, folder).evidence(REPORT_DATA)
    assert not list(folder.glob("bento-*"))


def test_a_machine_without_configfs_is_a_plain_error(tmp_path):
    attester = TsmAttester(Kind.TDX, CollateralStore(tmp_path), tmp_path / "none")
    with pytest.raises(HostError, match="does not answer"):
        attester.evidence(REPORT_DATA)


def test_certificate_tables_are_bounded():
    good = table((VCEK_ID, b"key"))
    assert tsm.key_certificate(good) == b"key"
    assert tsm.key_certificate(b"") == tsm.key_certificate(table((ASK_ID, b"x"))) == b""
    for bad in (good[:-1], uuid.UUID(ASK_ID).bytes * 40 + bytes(600)):
        with pytest.raises(HostError):
            tsm.key_certificate(bad)


# --- the rule for all


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_has_one_size(tmp_path, size):
    collateral = CollateralStore(tmp_path)
    for attester in (
        GramineSgxAttester(collateral, tmp_path),
        TsmAttester(Kind.TDX, collateral, tmp_path),
        TpmAttester("0x81010001", collateral),
        EmulatedAttester(samples.platform(), MEASUREMENT, NOW),
    ):
        with pytest.raises(UsageError):
            attester.evidence(bytes(size))


def test_what_never_ran_on_hardware_says_so():
    assert UNTESTED in GramineSgxAttester.remark
    assert UNTESTED in TsmAttester.remark
    for module in ("gramine_sgx", "tsm"):
        text = Path(tsm.__file__).with_name(f"{module}.py").read_text()
        assert "untested on hardware" in text.split('"""')[1].lower()


# --- the box's collateral


def test_missing_collateral_is_a_plain_error(tmp_path):
    for kind in (Kind.SGX, Kind.TPM):
        with pytest.raises(HostError, match="missing"):
            CollateralStore(tmp_path).parts(kind)


# --- a real (software) TPM


def run(command, environment, **kw):
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, timeout=300, **kw
    ).stdout


@pytest.fixture(scope="module")
def software_tpm(tmp_path_factory):
    """swtpm with an endorsement key, an attestation key, and an authority that certified it after
    the TPM proved to hold both (MakeCredential, ActivateCredential).
    """
    folder = tmp_path_factory.mktemp("tpm")
    socket = folder / "tpm.sock"
    process = subprocess.Popen(
        [
            "swtpm",
            "socket",
            "--tpm2",
            "--tpmstate",
            f"dir={folder}",
            "--server",
            f"type=unixio,path={socket}",
            "--ctrl",
            f"type=unixio,path={socket}.ctrl",
            "--flags",
            "not-need-init,startup-clear",
        ]
    )
    environment = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={socket}", "TMPDIR": str(folder)}
    try:
        _await(socket)
        yield folder, environment, _enrol(folder, environment)
    finally:
        process.terminate()
        process.wait()


def _await(path):
    waiter = threading.Event()
    for _ in range(600):
        if path.exists():
            return
        waiter.wait(0.1)
    raise AssertionError("swtpm did not start")


def _enrol(folder, environment):
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
    from tests.conclave import tpm_maker

    def tool(name, *arguments):
        run([name, "-Q", *arguments], {**environment}, cwd=folder)
        run(["tpm2_flushcontext", "-Q", "-t"], environment, cwd=folder)

    tool("tpm2_createek", "-c", "ek.ctx", "-G", "ecc", "-u", "ek.pub")
    key = ["-c", "ak.ctx", "-G", "ecc", "-g", "sha256", "-s", "ecdsa"]
    tool("tpm2_createak", "-C", "ek.ctx", *key, "-u", "ak.pem", "-f", "pem", "-n", "ak.name")
    secret = b"the authority's challenge 32 byte"[:32]
    (folder / "secret").write_bytes(secret)
    name = (folder / "ak.name").read_bytes().hex()
    tool("tpm2_makecredential", "-u", "ek.pub", "-s", "secret", "-n", name, "-o", "cred.blob")
    run(["tpm2_startauthsession", "--policy-session", "-S", "s.ctx"], environment, cwd=folder)
    run(["tpm2_policysecret", "-Q", "-S", "s.ctx", "-c", "e"], environment, cwd=folder)
    activate = ["-c", "ak.ctx", "-C", "ek.ctx", "-i", "cred.blob", "-o", "proof"]
    run(
        ["tpm2_activatecredential", "-Q", *activate, "-P", "session:s.ctx"], environment, cwd=folder
    )
    run(["tpm2_flushcontext", "-Q", "s.ctx"], environment, cwd=folder)
    run(["tpm2_flushcontext", "-Q", "-t"], environment, cwd=folder)
    assert (folder / "proof").read_bytes() == secret
    authority = tpm_maker.TpmLike()
    public = load_pem_public_key((folder / "ak.pem").read_bytes())
    certificate = tpm_maker.certify(
        "AK", public, "TPM middle", authority.middle_key, purpose=tpm_maker.ATTESTATION_KEY
    )
    (folder / "tpm-ak.der").write_bytes(certificate.public_bytes(Encoding.DER))
    (folder / "tpm-issuers.der").write_bytes(authority.middle.public_bytes(Encoding.DER))
    (folder / "tpm.crl").write_bytes(authority.crl())
    return authority


def test_a_software_tpm_attests_what_it_measured(software_tpm):
    folder, environment, authority = software_tpm
    attester = TpmAttester(str(folder / "ak.ctx"), CollateralStore(folder), (0, 16), environment)
    run(["tpm2_pcrreset", "-Q", "16"], environment)
    before = appraise(attester.evidence(REPORT_DATA), now=NOW, roots=authority.roots())
    assert before.report_data == REPORT_DATA
    assert dict(before.measurements).keys() == {"pcr0", "pcr16"}
    run(["tpm2_pcrextend", "-Q", f"16:sha256={MEASUREMENT.hex()}"], environment)
    after = appraise(attester.evidence(bytes(64)), now=NOW, roots=authority.roots())
    assert after.runtime != before.runtime
    assert after.platform == before.platform
    assert after.version("clock") >= before.version("clock")


def test_a_tpm_that_is_not_there_is_a_plain_error(tmp_path):
    elsewhere = {"TPM2TOOLS_TCTI": f"swtpm:path={tmp_path}/none"}
    attester = TpmAttester("0x81010001", CollateralStore(tmp_path), environment=elsewhere)
    with pytest.raises(HostError, match="tpm2_quote failed"):
        attester.evidence(REPORT_DATA)
    without = TpmAttester("0x81010001", CollateralStore(tmp_path), environment={"PATH": "/none"})
    with pytest.raises(HostError, match="not installed"):
        without.evidence(REPORT_DATA)
