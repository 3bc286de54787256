"""R5, this room's share: any bytes give a value or the declared error, in great number.

Inputs are good ones, spliced, flipped, cut and repeated at random; the seed is in the failure.
"""

import random
from urllib.parse import quote

import pytest
from tests.conclave import samples, snp_maker, tpm_maker

from bento.conclave import chains, dcap_quote, framing, importing, pccs, snp_report, tpm_quote
from bento.conclave.appraise import appraise
from bento.conclave.collateral import parse_dcap
from bento.conclave.evidence import Evidence
from bento.errors import AttestationError, RemoteProtocolError


def _frames(data):
    framing.FrameReader().feed(data)


FRAMES = b"".join(framing.encode(kind, bytes(kind * 300)) for kind in (1, 2, 3, 4))
REAL = samples.tdx().parts
SERVICE = {
    "tcb_info": b'{"tcbInfo":%s,"signature":"00"}' % REAL["tcb_info"],
    "qe_identity": b'{"enclaveIdentity":%s,"signature":"00"}' % REAL["qe_identity"],
    "pck_crl": REAL["pck_crl"],
    "root_ca_crl": REAL["root_ca_crl"].hex().encode(),
}
HEADERS = {
    name: quote(REAL["tcb_info_issuer_chain"].decode())
    for name in ("tcb-info-issuer-chain", "sgx-pck-crl-issuer-chain")
} | {"sgx-enclave-identity-issuer-chain": "x"}


def _service(name):
    """The box's reading of a collateral service whose answer about `name` is strange."""

    def read(data):
        bodies = SERVICE | {name: data}
        pccs.assemble({part: pccs.Answer(body, HEADERS) for part, body in bodies.items()})

    return read, [SERVICE[name]]


def _judged(data):
    """All that a client does with evidence: parse it, verify it."""
    appraise(Evidence.decode(data), now=samples.NOW, roots=samples.roots())


PARSERS = {
    "evidence": (Evidence.decode, [samples.emulated().encode(), samples.milan().encode()]),
    "quote": (dcap_quote.parse, [samples.data("sgx_quote"), samples.tdx().parts["quote"]]),
    "padded quote": (dcap_quote.trim, [samples.data("tdx_quote")]),
    "snp report": (snp_report.parse, [samples.milan().parts["report"]]),
    "tpm quote": (tpm_quote.parse_attest, [tpm_maker.attest()]),
    "tpm signature": (tpm_quote.parse_signature, [tpm_maker.tpm().sign(b"")]),
    "tpm registers": (tpm_quote.parse_pcrs, [tpm_quote.encode_pcrs(tpm_maker.PCRS)]),
    "evidence file": (importing.from_files, [samples.data("report_milan.hex")]),
    "frames": (_frames, [FRAMES]),
}
SLOW = {
    "evidence, judged": (_judged, [samples.emulated().encode(), samples.milan().encode()]),
    "certificate": (lambda data: chains.read_der(data, "c"), [snp_maker.amd().vcek()]),
    "chain": (lambda data: chains.read_pem(data, "c", 2), [REAL["tcb_info_issuer_chain"]]),
    "revocation list": (lambda data: chains.read_crl(data, "l"), [REAL["pck_crl"]]),
    "collateral file": (parse_dcap, [samples.data("tdx_quote_collateral.json")]),
    "service's info": _service("tcb_info"),
    "service's list": _service("pck_crl"),
}
"""Those that cost a tenth of a millisecond and more."""
ALL = PARSERS | SLOW


def mutate(chance: random.Random, good: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(9))
            case 3:
                data[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0"))
            case _:
                data += data[at : at + 64]
    return bytes(data)


def run(name: str, count: int, seed: int) -> None:
    parse, goods = ALL[name]
    chance = random.Random(seed)
    for number in range(count):
        data = mutate(chance, chance.choice(goods))
        try:
            parse(data)
        except (AttestationError, RemoteProtocolError):
            pass
        except BaseException as error:
            raise AssertionError(f"seed {seed}, input {number}: {data.hex()}") from error


@pytest.mark.parametrize("name", ALL)
def test_r5_any_bytes_are_parsed_or_refused(name):
    run(name, 1500 if name in PARSERS else 150, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ALL)
def test_r5_any_bytes_in_great_number(name):
    """10,800,000 and 350,000 in all."""
    run(name, 1_200_000 if name in PARSERS else 50_000, seed=2)
