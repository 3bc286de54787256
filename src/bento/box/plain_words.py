"""A policy, and what a manifest gets from it, in words for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bento.firewall import PERMISSIONS, Grants
from bento.protocol.manifest import show_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bento.protocol.manifest import Manifest
    from bento.protocol.policy import Policy

Lines = list[tuple[str, str]]
"""(what it is about, what holds) in the order to be shown."""

_VIA = {
    "direct": "from the box itself, within the relay's own exit policy",
    "tor": "through Tor, within the exit policy of the relay where it leaves",
    "none": "",
}
_RELAYS = "connects to the ORPorts of the consensus from the box itself, as its relay does"
_KEPT = {
    "cgroup": "every limit is kept by the kernel's control groups",
    "rlimit": "limits are kept by rlimits and a watchdog: a function may exceed them for a moment",
}


def describe(policy: Policy) -> Lines:
    """What a function may have at most."""
    images = (f"{image} (system calls: {policy.syscalls_of(image)})" for image in policy.images)
    return [
        ("images", ", ".join(images)),
        ("instances", f"{policy.instances} at once, of all users together"),
        ("memory", f"up to {show_size(policy.memory)} each"),
        ("cpu", f"up to {policy.cpu:g} cores"),
        ("disk", f"up to {show_size(policy.disk)}, in memory, gone with the instance"),
        ("processes", f"up to {policy.pids}, threads included"),
        ("lifetime", f"up to {show_time(policy.lifetime)}"),
        ("code", f"up to {show_size(policy.upload)}"),
        ("answers", f"up to {show_size(policy.spool)} kept until they are fetched"),
        ("network", _network(policy.egress, policy.egress_via)),
        ("relays", _RELAYS if policy.relays else "none"),
        ("other boxes", _boxes(policy.boxes)),
        *_tor(policy.tor),
        (
            "conclaves",
            ", ".join(policy.attestation) or "none: the operator can look into everything",
        ),
        ("enforcement", _KEPT[policy.enforcement]),
    ]


def granted(manifest: Manifest, policy: Policy) -> Lines:
    """What a function with this manifest, which is within the policy, would get."""
    conclave = manifest.image in policy.images and manifest.image.endswith("-conclave")
    return [
        ("image", f"{manifest.image} (system calls: {policy.syscalls_of(manifest.image)})"),
        ("memory", show_size(manifest.memory)),
        ("cpu", f"{manifest.cpu:g} cores"),
        ("disk", show_size(manifest.disk)),
        ("processes", f"{manifest.pids}, threads included"),
        ("lifetime", show_time(manifest.lifetime)),
        ("answers", f"{show_size(manifest.spool)} kept until they are fetched"),
        ("network", _network(manifest.egress, policy.egress_via)),
        ("relays", _RELAYS if manifest.relays else "none"),
        ("other boxes", _boxes(manifest.boxes)),
        *_tor(manifest.tor),
        ("conclave", "yes: attested before its code is sent" if conclave else "no"),
    ]


def _network(rules: Sequence[str], via: str) -> str:
    return f"{', '.join(rules)}, {_VIA[via]}" if rules and via != "none" else "none"


def _boxes(most: int) -> str:
    return f"up to {most} instances there, through Tor, ended with the function" if most else "none"


def _tor(items: Sequence[str]) -> Lines:
    grants = Grants.parse(items)
    if not grants.numbers:
        return [("tor", "no control of tor")]
    return [("tor", _permission(name, number)) for name, number in grants.numbers.items()]


def _permission(name: str, number: int) -> str:
    permission = PERMISSIONS[name]
    limit = f" (at most {number} {permission.counts})" if permission.counts else ""
    return permission.grants + limit


def show_time(seconds: int) -> str:
    """`1 day`, `90 minutes`: the largest unit that leaves a whole number."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds} seconds"
