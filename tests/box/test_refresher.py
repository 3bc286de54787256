"""The box keeps its collateral fresh: fetched, verified, then kept; a failure costs nothing and is told.

The service here answers with Intel's real statements about a real TDX machine, at a time when they
were valid, in Intel's form and in a PCCS's.
"""

import os
import time
from functools import partial

import pytest
from tests.box.collateral_service import service, socks_to
from tests.conclave import samples, snp_maker

from bento.box import attester, checkup, fetch
from bento.box.config import load
from bento.box.refresher import WARN_BEFORE, Refresher
from bento.conclave import kds, pccs, snp_report, verify_dcap
from bento.conclave.appraise import appraise
from bento.conclave.claims import Kind
from bento.conclave.collateral import REFRESH_AFTER, CollateralStore
from bento.conclave.evidence import Evidence
from bento.errors import AttestationError, HostError, UsageError
from bento.safelog import Event

TDX = samples.tdx()
QUOTE = TDX.parts["quote"]
ISSUED, ENDS = verify_dcap.window(TDX.parts)
CLOCK = samples.TDX_CLOCK


@pytest.fixture
def store(tmp_path):
    return CollateralStore(tmp_path / "collateral")


def refresher(store, url, clock=CLOCK, **options):
    return Refresher(
        Kind.TDX, lambda _: QUOTE, store, url, fetch.get, clock=lambda: clock, **options
    )


@pytest.mark.parametrize("hexadecimal", [False, True])
async def test_what_is_fetched_and_verifies_is_stapled(store, hexadecimal):
    async with service(TDX.parts, hexadecimal) as intel:
        await refresher(store, intel.url).refresh()
        assert len(intel.asked) == 4
    evidence = Evidence(Kind.TDX, {"quote": QUOTE, **store.parts(Kind.TDX)})
    assert appraise(evidence, now=CLOCK).collateral_expires == ENDS
    assert store.window(Kind.TDX) == (ISSUED, ENDS)


async def test_it_can_be_fetched_through_tor(store):
    async with service(TDX.parts) as intel, socks_to(intel.url) as (socks, names):
        through = partial(fetch.get, socks=socks)
        url = "http://collateral.example:8081"
        await Refresher(
            Kind.TDX, lambda _: QUOTE, store, url, through, clock=lambda: CLOCK
        ).refresh()
    assert names == ["collateral.example"] * 4
    assert store.window(Kind.TDX) == (ISSUED, ENDS)


def forged(parts):
    """Each statement with one character changed, and the whole of another platform."""
    for name in ("tcb_info", "qe_identity"):
        yield {**parts, name: parts[name].replace(b"UpToDate", b"upToDate", 1)}
        yield {**parts, name: parts[name].replace(b"2025", b"2035", 2)}
    for name in ("pck_crl", "root_ca_crl"):
        yield {**parts, name: parts[name][:-1] + bytes([parts[name][-1] ^ 1])}
    yield dict(samples.sgx().parts)


async def test_what_does_not_verify_is_never_kept(store):
    store.put(Kind.TDX, TDX.parts)
    before = store.parts(Kind.TDX)
    for parts in forged(TDX.parts):
        async with service(parts) as liar:
            with pytest.raises((AttestationError, HostError)):
                await refresher(store, liar.url).refresh()
        assert store.parts(Kind.TDX) == before


HEAD = b"HTTP/1.0 200 OK\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: http://elsewhere/\r\n\r\n",
        HEAD + b"Content-Length: 50\r\n\r\ncut",
        HEAD + b"Content-Length: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b"\r\n" + bytes(300_000),
        HEAD + b"X: " + bytes(300_000),
        HEAD + b"\r\n[]",
    ],
)
async def test_any_answer_is_bounded_and_read_or_refused(store, raw):
    async with service(TDX.parts) as strange:
        strange.raw = raw
        with pytest.raises((HostError, AttestationError)):
            await refresher(store, strange.url).refresh()
    with pytest.raises(HostError, match="missing"):
        store.parts(Kind.TDX)


@pytest.mark.parametrize("raw", [HEAD + b"\r\n" + bytes(300_000), HEAD + b"X: " + bytes(300_000)])
async def test_a_long_answer_is_not_taken_in(raw):
    async with service(TDX.parts) as strange:
        strange.raw = raw
        with pytest.raises(HostError, match="gave no answer"):
            await fetch.get(strange.url)


@pytest.fixture
def told(monkeypatch):
    """The events logged, with their fields."""
    events = []
    monkeypatch.setattr(
        "bento.box.refresher.log", lambda event, **fields: events.append((event, fields))
    )
    return events


async def test_a_failure_keeps_the_old_and_is_told_as_is_an_end_that_comes(store, tmp_path, told):
    store.put(Kind.TDX, TDX.parts)
    old, dead = store.parts(Kind.TDX), "http://127.0.0.1:1"
    file = tmp_path / "collateral" / "dcap.json"
    os.utime(file, (ISSUED, ISSUED))
    await refresher(store, dead, clock=ISSUED + REFRESH_AFTER - 1).look()
    assert told == [], "it was not due yet"
    await refresher(store, dead, clock=ISSUED + REFRESH_AFTER).look()
    await refresher(store, dead, clock=ENDS + 5).look()
    assert [event for event, _ in told] == [
        *(Event.COLLATERAL_FAILED, Event.COLLATERAL_FAILED, Event.COLLATERAL_ENDS)
    ]
    assert told[-1][1] == {"days": 0}
    assert store.parts(Kind.TDX) == old


async def test_an_end_is_told_a_week_before_whoever_fetches(store, told):
    store.put(Kind.TDX, TDX.parts)
    await refresher(store, "", clock=ENDS - WARN_BEFORE).look()
    assert told == []
    await refresher(store, "", clock=ENDS - WARN_BEFORE + 1).look()
    assert told == [(Event.COLLATERAL_ENDS, {"days": 6})]


async def test_what_is_due_is_fetched_once_a_day(store, told):
    async with service(TDX.parts) as intel:
        for _ in range(3):
            await refresher(store, intel.url).look()
        assert len(intel.asked) == 4
    assert told[0] == (Event.COLLATERAL_RENEWED, {})


async def test_without_any_the_operator_is_told(store, told):
    await refresher(store, "").look()
    assert [event for event, _ in told] == [Event.NO_COLLATERAL]


def test_intel_itself_keeps_the_roots_list_elsewhere():
    asked = pccs.questions(pccs.INTEL, Kind.TDX, QUOTE)
    assert asked["root_ca_crl"].startswith("https://certificates.trustedservices.intel.com/")
    assert asked["tcb_info"].endswith("/tdx/certification/v4/tcb?fmspc=B0C06F000000")
    with pytest.raises(AttestationError):
        pccs.questions(pccs.INTEL, Kind.TDX, b"no quote")


# -- SNP: the real chip's questions; answers are made, as AMD's list is not ours to sign


def snp_refresher(store, url, amd, **report):
    amd_report = amd.report(**report)
    return Refresher(
        Kind.SNP, lambda _: amd_report, store, url, fetch.get, clock=lambda: samples.NOW
    )


def test_what_amd_is_asked_about_a_real_chip():
    report = samples.milan().parts["report"]
    first, second = kds.questions(kds.AMD, report)
    chip = snp_report.parse(report).chip_id.hex()
    milan = "https://kdsintf.amd.com/vcek/v1/Milan"
    assert first == {
        "key_certificate": f"{milan}/{chip}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
        "crl": f"{milan}/crl",
    }
    assert second["crl"] == "https://kdsintf.amd.com/vcek/v1/Genoa/crl"
    turin = snp_maker.body(
        version=3, tcb=snp_maker.TURIN_TCB, chip=snp_maker.TURIN_CHIP, cpuid=bytes([0x1A, 2, 0])
    )
    [asked] = kds.questions("http://cache", snp_maker.sign(turin, snp_maker.amd().key))
    levels = "fmcSPL=01&blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
    assert asked["key_certificate"] == f"http://cache/vcek/v1/Turin/0102030405060708?{levels}"
    with pytest.raises(AttestationError, match="VLEK"):
        kds.questions(kds.AMD, snp_maker.amd().report(key_info=1 << 2))


async def test_an_snp_machine_s_key_and_list_are_fetched_verified_and_stapled(store, monkeypatch):
    amd, liar = snp_maker.amd(), snp_maker.other_amd()
    monkeypatch.setattr("bento.conclave.appraise.amd_roots", lambda: amd.roots("genoa"))
    async with service(TDX.parts) as kds_:
        asked = kds.questions("", amd.report())[1]
        kds_.answers = {asked["key_certificate"]: (amd.vcek(), {}), asked["crl"]: (amd.crl(), {})}
        await snp_refresher(store, kds_.url, amd).refresh()
        assert "Milan" in kds_.asked[0], "it was asked for first, and did not know the chip"
        kept = store.parts(Kind.SNP)
        evidence = Evidence(Kind.SNP, {"report": amd.report(), **kept})
        assert appraise(evidence, now=samples.NOW).revocation_checked
        assert not store.due(Kind.SNP, int(time.time()))
        for name, wrong in (("crl", liar.crl()), ("key_certificate", liar.vcek()), ("crl", b"no")):
            kds_.answers[asked[name]], right = (wrong, {}), kds_.answers[asked[name]]
            with pytest.raises(AttestationError):
                await snp_refresher(store, kds_.url, amd).refresh()
            kds_.answers[asked[name]] = right
            assert store.parts(Kind.SNP) == kept


CONFIG = """
name = "box"
state = "{folder}/state"
run = "{folder}/run"
[tor]
relay_control = "unix:/nowhere"
[entrance.circuit]
[conclave]
attester = "tsm"
{more}
"""


def config(tmp_path, more=""):
    path = tmp_path / "bentod.toml"
    path.write_text(CONFIG.format(folder=tmp_path, more=more))
    return load(path)


def test_check_tells_its_age(tmp_path, monkeypatch):
    monkeypatch.setattr(attester, "_TDX_DEVICE", tmp_path)
    box = config(tmp_path)
    [missing] = checkup._collateral(box, CLOCK)
    assert missing.is_problem
    assert "set conclave.service" in missing.detail
    attester.collateral_store(box).put(Kind.TDX, TDX.parts)
    [found] = checkup._collateral(box, ISSUED + 3 * 86400 + 60)
    assert not found.is_problem
    assert found.detail.startswith("3 days old, ends in ")
    assert "fetched by nobody but you" in found.detail
    [late] = checkup._collateral(box, ENDS)
    assert late.is_problem


def test_check_tells_what_an_snp_machine_lacks(tmp_path):
    [missing] = checkup._collateral(config(tmp_path), CLOCK)
    assert missing.is_problem
    assert missing.detail.startswith("no revocation list is in the box's collateral folder")


def test_only_a_confidential_vm_fetches_and_only_from_what_is_named(tmp_path, monkeypatch):
    box = config(tmp_path, 'service = "https://pccs.example:8081"\nservice_via = "tor"')
    assert attester.make_refresher(box, None, "unix:/socks") is None
    snp = attester.make_refresher(box, attester.make_attester(box), "unix:/socks")
    assert snp._kind is Kind.SNP
    monkeypatch.setattr(attester, "_TDX_DEVICE", tmp_path)
    tdx = attester.make_attester(box)
    assert attester.make_refresher(box, tdx, "unix:/socks") is not None
    with pytest.raises(HostError, match="functions' tor"):
        attester.make_refresher(box, tdx, "")
    for wrong in ('service = "file:///etc"', 'service_via = "luck"', 'service = "http://a b"'):
        with pytest.raises(UsageError, match="conclave"):
            config(tmp_path, wrong)
