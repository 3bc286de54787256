"""What a box says of itself in its relay's ContactInfo: `bento=1 port=5000 onion=... key=...`.

Invariant: a contact line, which anybody may write, gives None (nothing announced), a valid
`Announcement`, or TorError; and what `contact_info` writes, `parse` reads back.
ContactInfo is signed with the relay's identity key as part of its descriptor, so `key` binds the
box's key to the relay.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from bento.errors import TorError, UsageError
from bento.tor.onion_service import decode_address

VERSION = 1
# Where a box listens on its own host: TEST-NET-1, which no tor holds for internal and no other
# machine routes, so that every box has the same address and it opens nothing else.
DEFAULT_HOST = "192.0.2.77"
RELAY_HOST = "relay"
# ContactInfo is public, archived and meant for a mail address: stay small.
MAX_ANNOUNCEMENT = 500  # bytes
# A descriptor may have 20,000 bytes; no honest contact line comes near this.
MAX_CONTACT = 4096  # characters
_KEY_BYTES = 32
_WORDS = frozenset({"bento", "port", "host", "onion", "key"})


@dataclass(frozen=True, slots=True)
class Announcement:
    """One box's entrances and key.

    `port`: of the circuit entrance, 0 if there is none. `host`: "" for 192.0.2.77, or "relay"
    for the relay's own address. `onion`: the 56 characters of the onion entrance, or "".
    `key`: what the box's key must match: 32 bytes, base64url without padding (43 characters).
    UsageError if one of them is not so.
    """

    version: int = VERSION
    port: int = 0
    host: str = ""
    onion: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise UsageError(f"a box cannot announce itself: {problem}")

    def contact_info(self) -> str:
        """The words for the relay's ContactInfo line; the operator's own may stand beside them."""
        words = [f"bento={self.version}"]
        words += [f"port={self.port}"] if self.port else []
        words += [f"host={self.host}"] if self.host else []
        words += [f"onion={self.onion}"] if self.onion else []
        return " ".join([*words, f"key={self.key}"])

    def circuit_host(self, relay_address: str) -> str:
        """The address to ask the last hop for."""
        return relay_address if self.host == RELAY_HOST else DEFAULT_HOST

    @classmethod
    def parse(cls, contact_line: str) -> Announcement | None:
        """What a contact line announces; None if nothing, TorError if something impossible."""
        words = [word.partition("=") for word in contact_line[:MAX_CONTACT].split()]
        if not any(name == "bento" and equals for name, equals, _ in words):
            return None
        values: dict[str, str] = {}
        for name, equals, value in words:
            if not equals or name not in _WORDS:
                continue
            if name in values:
                raise _wrong(f"{name} twice")
            values[name] = value
        version, port = values.pop("bento"), values.pop("port", "")
        if version != str(VERSION):
            raise _wrong("a version that this program does not know", "update Bento")
        try:
            return cls(VERSION, _port(port), **values)
        except UsageError as error:
            raise _wrong(error.detail.partition(": ")[2]) from None


def _problem(announced: Announcement) -> str:
    if announced.version != VERSION:
        return "an unknown version"
    if not 0 <= announced.port < 65536:
        return "a port that is none"
    if announced.host not in ("", RELAY_HOST):
        return "a host that is none"
    if announced.onion and not _is_address(announced.onion):
        return "an onion address that is none"
    if not announced.port and not announced.onion:
        return "no entrance"
    if not _is_key(announced.key):
        return "a key that is none"
    return ""


def _port(text: str) -> int:
    if not text:
        return 0
    # isdigit alone takes digits of other scripts, and int() takes "1_0" and " 1".
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or text.startswith("0"):
        raise _wrong("a port that is none")
    return int(text)


def _is_address(text: str) -> bool:
    try:
        decode_address(text)
    except TorError:
        return False
    return True


def _is_key(text: str) -> bool:
    """Exactly one text stands for a key, or the same box could look like two."""
    try:
        raw = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return False
    canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return len(raw) == _KEY_BYTES and canonical == text


def _wrong(what: str, hint: str = "") -> TorError:
    return TorError(f"a relay announces a box with {what}", hint)
