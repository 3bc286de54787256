"""The rule tables: every command, GETINFO key, option and event of control-spec, and its fate.

What is not in a table is refused. `docs/firewall.md` is made from these tables.

Two ideas decide a row. tor has one state for everybody, so whatever changes or shows the state
of the process is refused. And what belongs to somebody (a circuit, a stream, an onion service)
is open to its owner only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from bento.firewall import values
from bento.firewall.refusal import Refusal, needs, never


class Fate(Enum):
    """What becomes of a command."""

    ANSWERED = "answered by the firewall"
    REBUILT = "checked, rebuilt and sent to tor"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class CommandRule:
    """One command. `permission` is empty where none is needed; `note` is the scope, or why not."""

    name: str
    fate: Fate
    permission: str
    note: str


_EVERYBODY = "it changes tor for everybody"

COMMANDS: Mapping[str, CommandRule] = {
    rule.name: rule
    for rule in (
        CommandRule("PROTOCOLINFO", Fate.ANSWERED, "", "offers the NULL method and tor's version"),
        CommandRule(
            "AUTHENTICATE", Fate.ANSWERED, "", "anything will do: the socket is the identity"
        ),
        CommandRule("QUIT", Fate.ANSWERED, "", "ends this function's connection only"),
        CommandRule("USEFEATURE", Fate.ANSWERED, "", "EXTENDED_EVENTS, VERBOSE_NAMES: always on"),
        CommandRule("GETCONF", Fate.ANSWERED, "", "a few options, with fixed values (see Options)"),
        CommandRule(
            "SETCONF", Fate.ANSWERED, "streams", "__LeaveStreamsUnattached, for own streams only"
        ),
        CommandRule(
            "RESETCONF", Fate.ANSWERED, "streams", "__LeaveStreamsUnattached, for own streams only"
        ),
        CommandRule("GETINFO", Fate.REBUILT, "", "listed keys only (see Keys)"),
        CommandRule(
            "SETEVENTS", Fate.REBUILT, "events", "listed events, about own objects (see Events)"
        ),
        CommandRule(
            "EXTENDCIRCUIT",
            Fate.REBUILT,
            "circuits",
            "own circuits; 2 to 8 different relays by fingerprint, never the box's own",
        ),
        CommandRule("CLOSECIRCUIT", Fate.REBUILT, "circuits", "own circuits"),
        CommandRule(
            "ATTACHSTREAM",
            Fate.REBUILT,
            "streams",
            "own streams, to circuits it built or tor's choice; no HOP",
        ),
        CommandRule("CLOSESTREAM", Fate.REBUILT, "streams", "own streams"),
        CommandRule(
            "ADD_ONION",
            Fate.REBUILT,
            "onion-services",
            "the box sets target, flags, stream and proof-of-work limits",
        ),
        CommandRule("DEL_ONION", Fate.REBUILT, "onion-services", "own onion services"),
        CommandRule("HSFETCH", Fate.REBUILT, "onion-fetch", "counted by the directories asked"),
        CommandRule(
            "HSPOST",
            Fate.REBUILT,
            "onion-publish",
            "addresses whose key this connection proved; each directory named counts",
        ),
        CommandRule("AUTHCHALLENGE", Fate.REFUSED, "", "no cookie is needed here"),
        CommandRule("SAVECONF", Fate.REFUSED, "", "it writes files"),
        CommandRule("LOADCONF", Fate.REFUSED, "", _EVERYBODY),
        CommandRule("SIGNAL", Fate.REFUSED, "", _EVERYBODY),
        CommandRule("MAPADDRESS", Fate.REFUSED, "", _EVERYBODY),
        CommandRule("RESOLVE", Fate.REFUSED, "", "everybody hears its answer"),
        CommandRule("REDIRECTSTREAM", Fate.REFUSED, "", "it would pass by the egress rules"),
        CommandRule("SETCIRCUITPURPOSE", Fate.REFUSED, "", "it would mix in others' streams"),
        CommandRule("SETROUTERPURPOSE", Fate.REFUSED, "", _EVERYBODY),
        CommandRule("POSTDESCRIPTOR", Fate.REFUSED, "", "it would change everybody's directory"),
        CommandRule("TAKEOWNERSHIP", Fate.REFUSED, "", "tor would end with the function"),
        CommandRule("DROPOWNERSHIP", Fate.REFUSED, "", "tor belongs to the box"),
        CommandRule("DROPGUARDS", Fate.REFUSED, "", _EVERYBODY),
        CommandRule("DROPTIMEOUTS", Fate.REFUSED, "", _EVERYBODY),
        CommandRule("ONION_CLIENT_AUTH_ADD", Fate.REFUSED, "", "client keys are everybody's"),
        CommandRule("ONION_CLIENT_AUTH_REMOVE", Fate.REFUSED, "", "client keys are everybody's"),
        CommandRule("ONION_CLIENT_AUTH_VIEW", Fate.REFUSED, "", "it shows everybody's client keys"),
    )
}


class Source(Enum):
    """Who answers a GETINFO key, and what of tor's answer passes."""

    FIREWALL = "the firewall"
    TOR = "tor"
    CIRCUITS = "tor, own circuits only"
    STREAMS = "tor, own streams only"
    SERVICES = "tor, own onion services only"
    GUARDS = "tor, the first usable ones, without times"


@dataclass(frozen=True, slots=True)
class InfoRule:
    """One GETINFO key, or a family of keys that end in an argument of a type.

    `read` turns the argument as written into the canonical one, or raises Refusal. `cost` is
    what one look-up counts against `directory`: the documents with every relay are megabytes.
    """

    key: str
    permission: str
    source: Source
    argument: str = ""
    cost: int = 1
    read: Callable[[str], str] | None = None


_WHOLE_DIRECTORY = (
    "ns/all",
    "md/all",
    "dir/status-vote/current/consensus",
    "dir/status-vote/current/consensus-microdesc",
)
_WHOLE_COST = 60
_DIRECTORY_KEYS = (
    "consensus/valid-after",
    "consensus/fresh-until",
    "consensus/valid-until",
    "sr/current",
    "sr/previous",
)

INFO: tuple[InfoRule, ...] = (
    InfoRule("version", "", Source.FIREWALL),
    InfoRule("net/listeners/socks", "", Source.FIREWALL),
    InfoRule("events/names", "", Source.FIREWALL),
    InfoRule("features/names", "", Source.FIREWALL),
    InfoRule("bento/manifest-line", "record", Source.FIREWALL),
    InfoRule("circuit-status", "circuits", Source.CIRCUITS),
    InfoRule("stream-status", "streams", Source.STREAMS),
    InfoRule("onions/current", "onion-services", Source.SERVICES),
    InfoRule("entry-guards", "guards", Source.GUARDS),
    *(InfoRule(key, "directory", Source.TOR, cost=_WHOLE_COST) for key in _WHOLE_DIRECTORY),
    *(InfoRule(key, "directory", Source.TOR) for key in _DIRECTORY_KEYS),
    *(
        InfoRule(f"{family}/id/", "directory", Source.TOR, "FINGERPRINT", read=values.fingerprint)
        for family in ("ns", "md", "desc")
    ),
    *(
        InfoRule(f"{family}/name/", "directory", Source.TOR, "NICKNAME", read=values.nickname)
        for family in ("ns", "md", "desc")
    ),
    InfoRule("ip-to-country/", "directory", Source.TOR, "ADDRESS", read=values.address),
)

_EXACT = {rule.key: rule for rule in INFO if not rule.argument}
_FAMILIES = tuple(rule for rule in INFO if rule.argument)


def info_rule(key: str) -> tuple[InfoRule, str]:
    """The rule of a GETINFO key and the key in canonical form; Refusal if there is none."""
    if (rule := _EXACT.get(key)) is not None:
        return rule, key
    for rule in _FAMILIES:
        if rule.read is not None and key.startswith(rule.key):
            return rule, rule.key + rule.read(key[len(rule.key) :])
    raise never(f"GETINFO {values.shown(key)}", "it is not on the list of public or own facts", 552)


@dataclass(frozen=True, slots=True)
class EventRule:
    """One event. A `silent` one may be asked for, as every stem program does, and never comes."""

    name: str
    note: str
    permission: str = "events"
    silent: bool = False


EVENTS: Mapping[str, EventRule] = {
    rule.name: rule
    for rule in (
        EventRule("CIRC", "own circuits"),
        EventRule("CIRC_MINOR", "own circuits"),
        EventRule("CIRC_BW", "own circuits"),
        EventRule("STREAM", "own streams"),
        EventRule("STREAM_BW", "own streams"),
        EventRule("HS_DESC", "uploads for own addresses, fetches the function asked for"),
        EventRule("HS_DESC_CONTENT", "descriptors the function asked for", "onion-fetch"),
        EventRule("SIGNAL", "never comes", "", silent=True),
        EventRule("CONF_CHANGED", "never comes", "", silent=True),
        EventRule("STATUS_SERVER", "never comes", "", silent=True),
    )
}

LEAVE_UNATTACHED = "__LeaveStreamsUnattached"

OPTIONS: Mapping[str, str | None] = {
    LEAVE_UNATTACHED: "0",
    "__OwningControllerProcess": None,
    "HiddenServiceSingleHopMode": "0",
    "HiddenServiceNonAnonymousMode": "0",
    "UseMicrodescriptors": "1",
}
"""GETCONF: option -> the value everybody is told (None: unset). stem asks for these by itself."""

FEATURES = frozenset({"EXTENDED_EVENTS", "VERBOSE_NAMES"})


def command_rule(keyword: str) -> CommandRule:
    """The rule of a command that is not refused outright; Refusal otherwise."""
    rule = COMMANDS.get(keyword)
    if rule is None:
        raise never(values.shown(keyword), "it is not a command the firewall knows")
    if rule.fate is Fate.REFUSED:
        raise never(keyword, rule.note)
    return rule


def event_rule(name: str) -> EventRule:
    """The rule of an event; Refusal if it may not be asked for."""
    rule = EVENTS.get(name)
    if rule is None:
        raise never(f"the event {values.shown(name)}", "it is about everybody", 552)
    return rule


def require(granted: bool, what: str, permission: str, status: int = 510) -> None:
    """Refuse `what` unless its permission is granted; no permission needed passes."""
    if permission and not granted:
        raise needs(what, permission, status)


__all__ = [
    "COMMANDS",
    "EVENTS",
    "FEATURES",
    "INFO",
    "LEAVE_UNATTACHED",
    "OPTIONS",
    "CommandRule",
    "EventRule",
    "Fate",
    "InfoRule",
    "Refusal",
    "Source",
    "command_rule",
    "event_rule",
    "info_rule",
    "require",
]
