"""Which of the network's relays run a box. Pure.

Invariant: nothing that a relay writes can do more than leave that relay out. A relay counts only if
it runs, by the consensus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bento.errors import TorError
from bento.tor.announcement import Announcement
from bento.tor.consensus import RouterStatus
from bento.tor.descriptors import Descriptor

_ANNOUNCED = frozenset(("bento", "port", "host", "onion", "key"))  # see announcement.py
_MAX_OPERATOR = 200  # characters kept


@dataclass(frozen=True, slots=True)
class RelayEntry:
    """A relay with a box: what the consensus and the relay itself say of it.

    `family` are the fingerprints that it names; `operator` is its ContactInfo without the announcement,
    in lower case: the same words are the same operator's; `exit_policy_summary` is the consensus's, as
    `accept 80,443`, empty if there is none."""

    fingerprint: str
    nickname: str
    address: str
    or_port: int
    flags: frozenset[str]
    bandwidth: int
    family: frozenset[str]
    exit_policy_summary: str
    announcement: Announcement
    operator: str = ""


def find_boxes(
    statuses: Iterable[RouterStatus], descriptors: Iterable[Descriptor]
) -> list[RelayEntry]:
    """Running relays whose descriptor holds a valid announcement, by nickname."""
    running = {relay.fingerprint: relay for relay in statuses if "Running" in relay.flags}
    boxes: dict[str, RelayEntry] = {}
    for descriptor in descriptors:
        relay = running.get(descriptor.fingerprint)
        announcement = _announcement(descriptor.contact)
        if relay is not None and announcement is not None:
            boxes[relay.fingerprint] = _entry(relay, descriptor, announcement)
    return sorted(boxes.values(), key=lambda box: (box.nickname.lower(), box.fingerprint))


def _announcement(contact: str) -> Announcement | None:
    try:
        return Announcement.parse(contact)
    except TorError:
        return None  # its own operator sees to that


def _entry(relay: RouterStatus, descriptor: Descriptor, announcement: Announcement) -> RelayEntry:
    return RelayEntry(
        fingerprint=relay.fingerprint,
        nickname=relay.nickname,
        address=relay.address,
        or_port=relay.or_port,
        flags=relay.flags,
        bandwidth=relay.bandwidth,
        family=descriptor.family,
        exit_policy_summary=relay.exit_policy_summary,
        announcement=announcement,
        operator=operator_of(descriptor.contact),
    )


def operator_of(contact: str) -> str:
    """Who runs a relay, in the words of its ContactInfo that are not the announcement's."""
    words = (word for word in contact.lower().split() if word.partition("=")[0] not in _ANNOUNCED)
    return " ".join(words)[:_MAX_OPERATOR]
