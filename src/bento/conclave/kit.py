"""The evidence kit: write evidence out for others to check, judge evidence from files.

A dump holds the container, which alone is enough, and each part as a file in its vendor's own
format, for other tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bento.conclave import importing
from bento.conclave.appraise import Roots, appraise
from bento.conclave.trust import Verdict, evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bento.conclave.claims import Claims, Kind
    from bento.conclave.evidence import Evidence
    from bento.conclave.trust import TrustPolicy

CONTAINER: Final = "evidence.bento"
_SUFFIXES: Final = {
    "key_certificate": ".der",
    "ak_certificate": ".der",
    "ak_issuers": ".der",
    "crl": ".der",
    "root_ca_crl": ".der",
    "pck_crl": ".der",
    "tcb_info": ".json",
    "qe_identity": ".json",
}  # part -> how its file's name ends; chains are PEM, the rest is the vendor's binary form


def write_dump(evidence: Evidence, folder: Path) -> list[Path]:
    """Write `evidence` to `folder`; the files written, the container first. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / CONTAINER]
    written[0].write_bytes(evidence.encode())
    for part, data in evidence.parts.items():
        suffix = ".pem" if part.endswith("_chain") else _SUFFIXES.get(part, ".bin")
        if data:
            written.append(folder / f"{part}{suffix}")
            written[-1].write_bytes(data)
    return written


def judge_files(
    policy: TrustPolicy,
    data: bytes,
    collateral: bytes | None = None,
    certificates: Sequence[bytes] = (),
    *,
    now: int,
    kind: Kind | None = None,
    roots: Roots | None = None,
    published: frozenset[str] = frozenset(),
) -> tuple[Claims, Verdict]:
    """What files say, and what `policy` makes of it at `now` (seconds since 1970).

    A file is never bound to a channel: of all the policy, `session_only` alone does not apply.
    Raises AttestationError if the evidence does not verify.
    """
    evidence = importing.from_files(data, collateral, certificates, kind)
    claims = appraise(evidence, now=now, roots=roots)
    of_files = policy.override(session_only=False)
    return claims, evaluate(of_files, claims, now=now, session=None, published=published)
