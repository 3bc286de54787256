"""R5, this room's share: any bytes give a value or the declared error, in great number.

Inputs are good ones, spliced, flipped, cut and repeated at random; the seed is in the failure.
"""

import random

import pytest
from tests.conclave import samples, tpm_maker

from bento.conclave import dcap_quote, framing, importing, snp_report, tpm_quote
from bento.conclave.evidence import Evidence
from bento.errors import AttestationError, RemoteProtocolError


def _frames(data):
    framing.FrameReader().feed(data)


FRAMES = b"".join(framing.encode(kind, bytes(kind * 300)) for kind in (1, 2, 3, 4))
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
    parse, goods = PARSERS[name]
    chance = random.Random(seed)
    for number in range(count):
        data = mutate(chance, chance.choice(goods))
        try:
            parse(data)
        except (AttestationError, RemoteProtocolError):
            pass
        except BaseException as error:
            raise AssertionError(f"seed {seed}, input {number}: {data.hex()}") from error


@pytest.mark.parametrize("name", PARSERS)
def test_r5_any_bytes_are_parsed_or_refused(name):
    run(name, 1500, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("name", PARSERS)
def test_r5_any_bytes_in_great_number(name):
    run(name, 1_200_000, seed=2)
