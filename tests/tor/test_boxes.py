"""Which relays run a box."""

from __future__ import annotations

from bento.tor.announcement import Announcement
from bento.tor.boxes import find_boxes
from bento.tor.consensus import RouterStatus
from bento.tor.descriptors import Descriptor

ANNOUNCED = Announcement(port=5000, key="A" * 43)


def relay(name: str, flags: str = "Running Valid") -> RouterStatus:
    return RouterStatus(
        fingerprint(name), name, "192.0.2.9", 9001, frozenset(flags.split()), 5, "p"
    )


def fingerprint(name: str) -> str:
    return name.encode().hex().upper().ljust(40, "0")


def descriptor(name: str, contact: str) -> Descriptor:
    return Descriptor(fingerprint(name), contact, frozenset({"F" * 40}))


def test_a_box_has_what_consensus_and_relay_say():
    (box,) = find_boxes([relay("b")], [descriptor("b", f"me {ANNOUNCED.contact_info()}")])
    assert box.announcement == ANNOUNCED
    assert (box.fingerprint, box.nickname, box.address) == (fingerprint("b"), "b", "192.0.2.9")
    assert (box.or_port, box.bandwidth, box.exit_policy_summary) == (9001, 5, "p")
    assert box.family == {"F" * 40}


def test_only_running_relays_with_a_valid_announcement_are_boxes():
    words = ANNOUNCED.contact_info()
    relays = [relay("down", "Valid"), relay("plain"), relay("broken"), relay("Zed"), relay("abc")]
    descriptors = [
        descriptor("down", words),
        descriptor("plain", "me"),
        descriptor("broken", f"{words} {words}"),
        descriptor("unknown", words),
        descriptor("Zed", words),
        descriptor("abc", words),
    ]
    assert [box.nickname for box in find_boxes(relays, descriptors)] == ["abc", "Zed"]
