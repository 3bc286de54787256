"""What a box offers, as a document it signs; and what of a manifest is not within it.

The document is JSON, signed as it stands with the box's Ed25519 key, whose SHA-256 stands in the
relay's descriptor: so the relay vouches for the key, the key for the document.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bento.errors import BoxError, RemoteProtocolError
from bento.protocol import limits
from bento.protocol.manifest import show_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.protocol.manifest import Manifest

_DOMAIN = b"bento policy v1\0"


@dataclass(frozen=True)
class Policy:
    """The operator's offer. Sizes are bytes, times seconds; maxima are for each instance."""

    images: tuple[str, ...]
    memory: int
    cpu: float
    disk: int
    pids: int
    lifetime: int
    upload: int
    spool: int
    instances: int
    egress: tuple[str, ...]
    egress_via: str  # "direct", "tor" or "none"
    enforcement: str  # how limits are kept: "cgroup" or "rlimit"
    tor: tuple[str, ...] = ()  # what functions may ask of tor
    attestation: tuple[str, ...] = ()
    syscalls: tuple[str, ...] = ()  # the class of system calls of each image, in their order
    passes: tuple[str, ...] = ()  # the cards whose passes are honoured (see protocol.passes)
    relays: bool = False  # whether functions may connect to relays' ORPorts
    boxes: int = 0  # instances that a function may have on other boxes

    def syscalls_of(self, image: str) -> str:
        """The class of system calls that functions of an offered image may make."""
        return dict(zip(self.images, self.syscalls, strict=False)).get(image, "")

    def document(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, document: bytes) -> Policy:
        """Raises RemoteProtocolError on anything but a policy document."""
        try:
            table = json.loads(document)
            values = {
                item.name: _FIELD[str(item.type)](table.pop(item.name)) for item in fields(cls)
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RemoteProtocolError("the box's policy document is malformed") from error
        if table:
            raise RemoteProtocolError("the box's policy document has unknown entries")
        if len(values["syscalls"]) != len(values["images"]):
            raise RemoteProtocolError("the box's policy document is malformed")
        return cls(**values)


def sign(document: bytes, key: Ed25519PrivateKey) -> bytes:
    return key.sign(_DOMAIN + document)


def key_hash(public_key: bytes) -> str:
    """What a relay's descriptor says of the box's key: 43 characters of base64url SHA-256."""
    return base64.urlsafe_b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")


def verify(document: bytes, signature: bytes, public_key: bytes, expected: str) -> Policy:
    """The policy, once the key is the expected one and the signature is its. Raises BoxError."""
    if key_hash(public_key) != expected:
        raise BoxError(
            "the box shows another key than its relay announces",
            "somebody answers in the box's place, or its relay's descriptor is old; use another box",
        )
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _DOMAIN + document)
    except (InvalidSignature, ValueError):
        raise BoxError("the box's policy is not signed by its key", "use another box") from None
    return Policy.parse(document)


def violations(manifest: Manifest, policy: Policy) -> list[str]:
    """Each item of `manifest` that `policy` does not allow, with the policy's own line.

    Egress rules are judged by bento.egress and what is asked of tor by bento.firewall, where their
    grammars live."""
    found = []
    if manifest.image not in policy.images:
        found.append(f"image {manifest.image!r}: this box offers {', '.join(policy.images)}")
    elif manifest.syscalls and (given := policy.syscalls_of(manifest.image)) != manifest.syscalls:
        found.append(f"syscalls {manifest.syscalls!r}: {manifest.image} functions get {given!r}")
    for name, show in _MAXIMA.items():
        asked, offered = getattr(manifest, name), getattr(policy, name)
        if asked > offered:
            found.append(f"{name} {show(asked)}: this box gives at most {show(offered)}")
    if manifest.egress and policy.egress_via == "none":
        found.append("egress: this box gives functions no network")
    if manifest.relays and not policy.relays:
        found.append("relays: this box does not let functions connect to relays")
    return found


def _show_time(seconds: float) -> str:
    return f"{seconds:g} s"


_MAXIMA: dict[str, Callable[[Any], str]] = {
    "memory": show_size,
    "cpu": lambda cores: f"{cores:g} cores",
    "disk": show_size,
    "pids": str,
    "lifetime": _show_time,
    "spool": show_size,
    "boxes": str,
}


def _text(value: Any) -> str:
    if isinstance(value, str) and len(value) <= 100:
        return value
    raise ValueError("text")


def _number(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value
    raise ValueError("number")


def _real(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6:
        return float(value)
    raise ValueError("real")


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("truth")


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and len(value) <= limits.POLICY // 8:
        return tuple(_text(item) for item in value)
    raise ValueError("texts")


_FIELD: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _number,
    "float": _real,
    "bool": _truth,
    "tuple[str, ...]": _texts,
}
