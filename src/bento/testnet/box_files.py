"""The files of a box that exist before its processes: identity, configuration, announcement."""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass
from pathlib import Path

from bento.box.identity import load_or_create
from bento.conclave.attesters.emulated import EmulatedPlatform
from bento.firewall import Grants
from bento.protocol.limits import TREE
from bento.sandbox.layers import UNPRIVILEGED
from bento.testnet.layout import BOX_PORT, WEB, Box
from bento.tor.announcement import RELAY_HOST, Announcement

_ALLOWED = Grants.everything().items
"""All that functions can be given of tor, recording included: here is the place to try."""

_INSTANCES = 200
"""More than a box's default: tests of idle cost install a hundred functions on one box."""


Table = dict[str, str | int | bool | list[str]]


@dataclass(frozen=True)
class PreparedBox:
    """What the world is told of a box: its onion address and its relay's ContactInfo."""

    onion: str
    contact: str


def prepare(box: Box, emulated: Path) -> PreparedBox:
    """Write the files of `box`, whose emulated platform is made by the one in `emulated`.

    Raises HostError if the identity cannot be kept."""
    identity = load_or_create(box.state)
    _prepare_platform(box.state / "emulated", emulated)
    box.run.mkdir(mode=0o700, exist_ok=True)
    box.config.write_text(configuration(box))
    announcement = Announcement(
        port=BOX_PORT, host=RELAY_HOST, onion=identity.onion, key=identity.key_hash
    )
    return PreparedBox(identity.onion, announcement.contact_info())


def _prepare_platform(own: Path, maker: Path) -> None:
    now = int(time.time())
    if not maker.exists():
        EmulatedPlatform.create(now).save(maker)
    if not own.exists():
        EmulatedPlatform.create(now, root=EmulatedPlatform.load(maker)).save(own)


def configuration(box: Box) -> str:
    """The file that `bentod run --config` reads (TOML)."""
    tables: dict[str, Table] = {
        "": {
            "name": box.name,
            "state": str(box.state),
            "run": str(box.run),
            "without": list(
                UNPRIVILEGED
            ),  # no stranger gets here, and everybody should be able to try
        },
        "entrance.circuit": {"address": box.relay.address, "port": BOX_PORT},
        "entrance.onion": {"single_hop": True},
        "tor": {
            "relay_control": box.relay.control_endpoint,
            "functions_control": box.functions.control_endpoint,
            "functions_socks": box.functions.socks_endpoint,
            "allow": list(_ALLOWED),
        },
        "egress": {
            "via": "direct",
            "relays": True,
            "test_web": WEB,
            "test_relays": _around(box.relay.address),
        },
        "capacity": {"instances": _INSTANCES, "boxes": TREE},
        "conclave": {"attester": "emulated"},
    }
    return "\n".join(line for name, table in tables.items() for line in _table(name, table))


def _around(address: str) -> str:
    """The /16 of the network's own addresses (see `layout`)."""
    return str(ipaddress.ip_network(f"{address}/16", strict=False))


def _table(name: str, table: Table) -> list[str]:
    # A JSON string, number, boolean or list of those is a TOML one too (without the escapes \/ and \u of
    # surrogates, which ensure_ascii=False avoids).
    values = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return [*([f"[{name}]"] if name else []), *values, ""]
