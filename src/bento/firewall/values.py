"""Typed arguments: text as written -> the one canonical value, or `Refusal`.

Every reader accepts exactly the forms it names and gives back something that is safe to put into
a new line, because it was built from checked parts. No regular expressions: each form is short.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress

from bento.firewall.refusal import Refusal, malformed, unknown

_HEX = frozenset("0123456789abcdefABCDEF")
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_ALPHANUMERIC = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_MAX_NICKNAME = 19  # tor-spec: a relay's nickname has 1 to 19 alphanumeric characters
_MAX_SHOWN = 40


def shown(text: str) -> str:
    """`text` cut for an error line; it is printable, for the reader lets nothing else in."""
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def number(text: str, low: int, high: int, name: str) -> int:
    """A decimal number within bounds."""
    if text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high:
        return int(text)
    raise malformed(f"{name} must be a number from {low} to {high}")


def identifier(text: str, kind: str) -> int:
    """A circuit or stream id. Those of tor are numbers; anything else names nothing."""
    if text.isascii() and text.isdigit() and len(text) <= 20:
        return int(text)
    raise unknown(kind, shown(text.replace('"', "")))


def fingerprint(text: str) -> str:
    """`$FP`, `FP`, `$FP~nick` or `$FP=nick` -> 40 upper-case hex digits. Nicknames alone name
    nobody: several relays may share one, and it might be the box's own."""
    digits = text.removeprefix("$")
    rest = digits[40:]
    digits = digits[:40]
    if len(digits) != 40 or not _HEX.issuperset(digits):
        raise malformed("a relay must be named by its fingerprint of 40 hex digits")
    if rest and rest[0] in "=~":
        nickname(rest[1:])
    elif rest:
        raise malformed("a relay must be named by its fingerprint of 40 hex digits")
    return digits.upper()


def address(text: str) -> str:
    """An IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise malformed("an address is four numbers with dots between them") from None


def nickname(text: str) -> str:
    """A relay's nickname."""
    if not 1 <= len(text) <= _MAX_NICKNAME or not _ALPHANUMERIC.issuperset(text):
        raise malformed("a nickname has 1 to 19 letters and digits")
    return text


def onion_address(text: str) -> str:
    """A version 3 onion address without `.onion`, its checksum checked (rend-spec-v3 §6)."""
    bad = malformed("an onion address has 56 base32 characters and a right checksum", 513)
    address = text.lower()
    if len(address) != 56 or not _BASE32.issuperset(address):
        raise bad
    raw = base64.b32decode(address.upper())
    key, checksum, version = raw[:32], raw[32:34], raw[34:]
    expected = hashlib.sha3_256(b".onion checksum" + key + version).digest()[:2]
    if version != b"\x03" or checksum != expected:
        raise bad
    return address


def onion_key(text: str) -> str:
    """The expanded secret key of a version 3 onion service: base64 of 64 bytes."""
    bad = malformed("the key of an onion service must be base64 of 64 bytes")
    if len(text) != 88 or not text.endswith("==") or not _BASE64.issuperset(text[:-2]):
        raise bad
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise bad from None
    return base64.b64encode(raw).decode("ascii")


def client_key(text: str) -> str:
    """An x25519 public key for client authorisation: base32 of 32 bytes, unpadded."""
    if len(text) != 52 or not _BASE32.issuperset(text.lower()):
        raise malformed("a client key must be 52 base32 characters")
    return text.upper()


def word(text: str) -> str:
    """A keyword argument such as an event's or a flag's name, in upper case."""
    if not 1 <= len(text) <= 32 or not _ALPHANUMERIC.issuperset(text.replace("_", "")):
        raise malformed("an argument is not a name")
    return text.upper()


def safe_path(text: str) -> str:
    """A path of the box that can stand in an ADD_ONION line without quotes."""
    allowed = _ALPHANUMERIC | frozenset("/._-")
    if not text.startswith("/") or len(text) > 107 or not allowed.issuperset(text):
        raise ValueError("an onion service's socket path must be absolute, short and plain")
    return text


__all__ = [
    "Refusal",
    "client_key",
    "fingerprint",
    "identifier",
    "nickname",
    "number",
    "onion_address",
    "onion_key",
    "safe_path",
    "shown",
    "word",
]
