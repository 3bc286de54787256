"""Real evidence, and made evidence of every kind, for the tests of this room."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from functools import cache
from pathlib import Path

from bento.conclave import importing
from bento.conclave.appraise import Roots
from bento.conclave.attesters.emulated import EmulatedPlatform, dcap_evidence
from bento.conclave.claims import Kind
from bento.conclave.evidence import Evidence

FOLDER = Path(__file__).parent / "evidence"
# A moment inside the validity of each sample's collateral, which lives 30 days.
SGX_CLOCK = TDX_CLOCK = int(dt.datetime(2025, 7, 19, 9, tzinfo=dt.UTC).timestamp())
TDX_OLD_CLOCK = int(dt.datetime(2026, 3, 1, tzinfo=dt.UTC).timestamp())
SNP_CLOCK = int(dt.datetime(2026, 11, 22, tzinfo=dt.UTC).timestamp())
NOW = SNP_CLOCK
MEASUREMENT = hashlib.sha256(b"a runtime").digest()
REPORT_DATA = hashlib.sha512(b"a channel").digest()


def data(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def sgx() -> Evidence:
    return importing.from_files(data("sgx_quote"), data("sgx_quote_collateral.json"))


def tdx() -> Evidence:
    return importing.from_files(data("tdx_quote"), data("tdx_quote_collateral.json"))


def tdx_outdated() -> Evidence:
    return importing.from_files(
        data("tdx_quote_outdated"), data("tdx_quote_outdated_collateral.json")
    )


def milan() -> Evidence:
    return importing.from_files(data("report_milan.hex"), None, [data("vcek_milan.der")])


def milan_debug() -> Evidence:
    return importing.from_files(
        data("report_milan_debug.bin"), None, [data("vcek_milan_debug.der")]
    )


@cache
def platform() -> EmulatedPlatform:
    return EmulatedPlatform.create(NOW)


@cache
def other_platform() -> EmulatedPlatform:
    return EmulatedPlatform.create(NOW)


def roots() -> Roots:
    return Roots(emulated=platform().root)


def emulated(report_data: bytes = REPORT_DATA, measurement: bytes = MEASUREMENT) -> Evidence:
    quote = platform().quote(measurement, report_data)
    return dcap_evidence(Kind.EMULATED, quote, platform().collateral(NOW))


def flip(value: bytes, bit: int) -> bytes:
    """`value` with one bit turned over."""
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def random_bytes(size: int) -> bytes:
    return os.urandom(size)
