"""An unmodified tor, driven from Python: its control port, its process, circuits, onion services.

Bento changes nothing in Tor: whatever it needs of it is asked for here, over the control port and
the SOCKS port of a tor program from the distribution. Users' circuits are therefore always tor's
own, and look like everybody's.

What stands here must never: touch a tor that is not ours (streams wait there for a controller);
put a key, an onion name or an address into a log or an error of its own accord; believe what a
relay says of itself before it has been parsed; choose a path that tor would not.

    control_codec   control protocol, bytes <-> values          controller     one connection
    process         one tor program, started and supervised     socks          streams, early data
    exit_policy     whether a relay connects to an address      onion_service  keys, ADD_ONION
    circuits        circuits to a chosen last relay, with `streams`, `planner`, `path`, `consensus`
    discovery       relays that run a box, with `announcement`, `boxes`, `descriptors`, `relay_cache`
    reasons         tor's reason words, for people              addresses      HOST:PORT, unix:/path

The names below are loaded when they are first used: most programs need few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bento.tor.announcement import Announcement
    from bento.tor.boxes import RelayEntry
    from bento.tor.circuits import Circuit, CircuitManager
    from bento.tor.control_codec import (
        Event,
        Line,
        Reply,
        ReplyParser,
        encode_command,
        parse_arguments,
        quote,
        unquote,
    )
    from bento.tor.controller import CommandRefused, Controller, Subscription
    from bento.tor.discovery import discover
    from bento.tor.exit_policy import ExitPolicy
    from bento.tor.onion_service import (
        OnionKey,
        OnionService,
        add_onion,
        decode_address,
        encode_address,
    )
    from bento.tor.process import TorProcess
    from bento.tor.socks import open_stream

__all__ = [
    "Announcement",
    "Circuit",
    "CircuitManager",
    "CommandRefused",
    "Controller",
    "Event",
    "ExitPolicy",
    "Line",
    "OnionKey",
    "OnionService",
    "RelayEntry",
    "Reply",
    "ReplyParser",
    "Subscription",
    "TorProcess",
    "add_onion",
    "decode_address",
    "discover",
    "encode_address",
    "encode_command",
    "open_stream",
    "parse_arguments",
    "quote",
    "unquote",
]

_MODULES = {
    "announcement": ("Announcement",),
    "boxes": ("RelayEntry",),
    "circuits": ("Circuit", "CircuitManager"),
    "control_codec": (
        "Event",
        "Line",
        "Reply",
        "ReplyParser",
        "encode_command",
        "parse_arguments",
        "quote",
        "unquote",
    ),
    "controller": ("CommandRefused", "Controller", "Subscription"),
    "discovery": ("discover",),
    "exit_policy": ("ExitPolicy",),
    "onion_service": (
        "OnionKey",
        "OnionService",
        "add_onion",
        "decode_address",
        "encode_address",
    ),
    "process": ("TorProcess",),
    "socks": ("open_stream",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
