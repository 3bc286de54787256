"""What evidence must be about: this channel, this box, this function's manifest, now.

RFC 9334 leaves freshness to the protocol; evidence bound to a key alone can be relayed (that is
CVE-2026-112377). Ours is bound to the client's nonce, the guest's TLS key, a value exported from
this very TLS session (RFC 8446 §7.5), the box the client believes to talk to and the manifest.
Runs in the guest too: standard library only.
"""

from __future__ import annotations

import hashlib

NONCE_SIZE = 32  # bytes, from the client
EXPORTER_SIZE = 32  # bytes
EXPORTER_LABEL = b"EXPORTER-bento-conclave"
MANIFEST_HASH_SIZE = 32  # bytes: SHA-256 of the manifest
MAX_IDENTITY = 128  # bytes: a relay fingerprint or an onion address
_LABEL = b"bento-conclave-v1\0"


def report_data(
    nonce: bytes, spki: bytes, exporter: bytes, identity: bytes, manifest_hash: bytes
) -> bytes:
    """The 64 bytes the evidence carries. Every part has a fixed size once hashed, so no two
    different sets of values give the same input.
    """
    if len(nonce) != NONCE_SIZE or len(exporter) != EXPORTER_SIZE:
        raise ValueError("nonce and exporter have 32 bytes")
    if len(manifest_hash) != MANIFEST_HASH_SIZE or not 0 < len(identity) <= MAX_IDENTITY:
        raise ValueError("the manifest's hash has 32 bytes, the identity 1 to 128")
    parts = (_digest(nonce), _digest(spki), exporter, _digest(identity), manifest_hash)
    return hashlib.sha512(_LABEL + b"".join(parts)).digest()


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
