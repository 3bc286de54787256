"""TLS towards a relay, with a ClientHello as near to C-tor's as Python's `ssl` allows.

Relays have self-made certificates on purpose: who the relay is follows from the CERTS cell
(`certs.py`), which is bound to the TLS certificate. So nothing is verified here.

Compared with C-tor 0.4.9 over the same OpenSSL 3.0 (`tests/onion/test_tls.py` captures both each
time): equal are the versions, the TLS 1.2 suites and their order, the extensions and their order,
the signature algorithms, the group of the key share (P-256), the random `www.<base32>.com` server
name and the total length. Two lists differ, because Python's `ssl` can set neither before 3.15:

    TLS 1.3 suites    C-tor 1301 1303 1302       here 1302 1303 1301
    groups            C-tor P-256 X25519 P-224   here P-256

A guard can tell us from C-tor by them, and by what follows inside: one more reason why users'
circuits are C-tor's, never ours.
"""

from __future__ import annotations

import base64
import secrets
import ssl

# What C-tor 0.4.9 offers below TLS 1.3, in its order.
_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
)
_GROUP = "prime256v1"  # one only; the first of C-tor's, so that the key share is alike
_NAME_BYTES = (4, 25)  # C-tor: crypto_random_hostname(4, 25, "www.", ".com")


def client_context() -> ssl.SSLContext:
    """A context for links; share it between them, sessions are not resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(_CIPHERS))
    context.set_ecdh_curve(_GROUP)
    return context


def random_server_name() -> str:
    """A name as C-tor makes it: `www.`, 4 to 25 base32 letters, `.com`."""
    low, high = _NAME_BYTES
    length = low + secrets.randbelow(high - low + 1)
    letters = base64.b32encode(secrets.token_bytes(20)).decode().lower()
    return f"www.{letters[:length]}.com"
