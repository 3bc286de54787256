"""Events and status lines: what of them a function may see, rebuilt field by field.

Invariant: text reaches a function only from an object that is its own, in the fields listed here,
each checked for its form; anything else is dropped without a trace. No event a function sees
depends on another function's objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bento.errors import TorError
from bento.firewall import replies
from bento.firewall.isolation import guest_name, is_owned
from bento.firewall.ownership import Ownership
from bento.tor.control_codec import Event, parse_arguments, quote

_CIRCUIT_FIELDS = (
    "BUILD_FLAGS",
    "PURPOSE",
    "HS_STATE",
    "REND_QUERY",
    "TIME_CREATED",
    "REASON",
    "REMOTE_REASON",
    "HS_POW",
    "OLD_PURPOSE",
    "OLD_HS_STATE",
    "SOCKS_USERNAME",
    "SOCKS_PASSWORD",
)
# Not SOURCE_ADDR (the box's own sockets), NYM_EPOCH (counts everybody's NEWNYM), SESSION_GROUP.
_STREAM_FIELDS = (
    "REASON",
    "REMOTE_REASON",
    "SOURCE",
    "PURPOSE",
    "SOCKS_USERNAME",
    "SOCKS_PASSWORD",
    "CLIENT_PROTOCOL",
    "ISO_FIELDS",
)
_BANDWIDTH_FIELDS = (
    "ID",
    "READ",
    "WRITTEN",
    "TIME",
    "DELIVERED_READ",
    "OVERHEAD_READ",
    "DELIVERED_WRITTEN",
    "OVERHEAD_WRITTEN",
    "SS",
    "CWND",
    "RTT",
    "MIN_RTT",
)
_DESCRIPTOR_FIELDS = ("REASON", "REPLICA", "HSDIR_INDEX")

_QUOTED = frozenset({"SOCKS_USERNAME", "SOCKS_PASSWORD"})
_PLAIN = frozenset(chr(code) for code in range(0x21, 0x7F)) - {'"', "\\"}
_UPLOADS = frozenset({"CREATED", "UPLOAD", "UPLOADED"})
_UPLOAD_FAILURES = frozenset({"UPLOAD_REJECTED", "UNEXPECTED"})


class View:
    """A function's eyes: `key` its isolation key, `own` its table."""

    def __init__(self, key: str, own: Ownership) -> None:
        self._key = key
        self._own = own

    def event(self, event: Event, now: float) -> bytes | None:
        """The event as the function may see it, or None. Learns from it either way."""
        handler = _HANDLERS.get(event.keyword)
        if handler is None or event.more:
            return None
        text = handler(self, event, now)
        if text is None:
            return None
        if event.data is None:
            return f"650 {event.keyword} {text}\r\n".encode()
        return (
            f"650+{event.keyword} {text}\r\n".encode() + replies.block(event.data) + b"650 OK\r\n"
        )

    def circuit_status(self, value: str) -> str:
        """`GETINFO circuit-status`, own circuits only."""
        return self._status(value, self._circuit)

    def stream_status(self, value: str) -> str:
        """`GETINFO stream-status`, own streams only."""
        return self._status(value, self._stream)

    def services(self, value: str) -> str:
        """`GETINFO onions/current`: tor tells this connection's only; the table is asked too."""
        return "\n".join(line for line in value.splitlines() if line in self._own.services)

    def _status(
        self, value: str, read: Callable[[Sequence[str], Mapping[str, str]], str | None]
    ) -> str:
        lines = []
        for line in value.splitlines():
            try:
                seen = read(*parse_arguments(line))
            except TorError:
                continue
            if seen is not None:
                lines.append(seen)
        return "\n".join(lines)

    def _circuit(self, words: Sequence[str], keywords: Mapping[str, str]) -> str | None:
        if not 2 <= len(words) <= 3 or (number := _number(words[0])) is None:
            return None
        hops = words[2].count(",") + 1 if len(words) == 3 else 0
        if not self._own.see_circuit(number, words[1], hops, keywords):
            return None
        return self._rebuilt(words, keywords, _CIRCUIT_FIELDS)

    def _stream(self, words: Sequence[str], keywords: Mapping[str, str]) -> str | None:
        if len(words) != 4:
            return None
        number, circuit = _number(words[0]), _number(words[2])
        if number is None or circuit is None:
            return None
        if not self._own.see_stream(number, words[1], circuit, keywords.get("SOCKS_USERNAME")):
            return None
        if circuit and circuit not in self._own.circuits:
            words = (words[0], words[1], "0", words[3])
        return self._rebuilt(words, keywords, _STREAM_FIELDS)

    def _circuit_event(self, event: Event, now: float) -> str | None:
        return self._circuit(event.positional, event.keywords)

    def _stream_event(self, event: Event, now: float) -> str | None:
        return self._stream(event.positional, event.keywords)

    def _circuit_bandwidth(self, event: Event, now: float) -> str | None:
        if _number(event.keywords.get("ID", "")) not in self._own.circuits or event.positional:
            return None
        return self._rebuilt((), event.keywords, _BANDWIDTH_FIELDS)

    def _stream_bandwidth(self, event: Event, now: float) -> str | None:
        words = event.positional
        if not 3 <= len(words) <= 4 or _number(words[0]) not in self._own.streams:
            return None
        return self._rebuilt(words, {}, ())

    def _descriptor(self, event: Event, now: float) -> str | None:
        if len(event.positional) < 4:
            return None
        action, address = event.positional[:2]
        failed_upload = action == "FAILED" and event.keywords.get("REASON") in _UPLOAD_FAILURES
        if action in _UPLOADS or (failed_upload and not self._own.is_fetching(address, now)):
            seen = address in self._own.services or address in self._own.proved
        else:
            seen = self._own.is_fetching(address, now)
        if not seen:
            return None
        return self._rebuilt(event.positional, event.keywords, _DESCRIPTOR_FIELDS)

    def _descriptor_content(self, event: Event, now: float) -> str | None:
        if len(event.positional) != 3 or event.data is None:
            return None
        address = event.positional[0]
        if not self._own.is_fetching(address, now):
            return None
        self._own.end_fetch(address)
        return self._rebuilt(event.positional, {}, ())

    def _rebuilt(
        self, words: Sequence[str], keywords: Mapping[str, str], fields: Sequence[str]
    ) -> str | None:
        if not all(word and _PLAIN.issuperset(word) for word in words):
            return None
        parts = list(words)
        for field in fields:
            value = keywords.get(field)
            if value is None:
                continue
            if field == "SOCKS_USERNAME":
                value = guest_name(self._key, value) if is_owned(self._key, value) else ""
                if not value:
                    continue
            if field in _QUOTED:
                if value.isascii():
                    parts.append(f"{field}={quote(value)}")
            elif _PLAIN.issuperset(value):
                parts.append(f"{field}={value}")
        return " ".join(parts)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


_HANDLERS: Mapping[str, Callable[[View, Event, float], str | None]] = {
    "CIRC": View._circuit_event,
    "CIRC_MINOR": View._circuit_event,
    "CIRC_BW": View._circuit_bandwidth,
    "STREAM": View._stream_event,
    "STREAM_BW": View._stream_bandwidth,
    "HS_DESC": View._descriptor,
    "HS_DESC_CONTENT": View._descriptor_content,
}
