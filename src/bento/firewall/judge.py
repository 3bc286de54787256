"""One command, one decision: the permissions, the ownership table and the quotas together.

`Judge.judge` gives an `Answer` (tor is not asked), a `Forward` (a rebuilt command, and what to
make of tor's answer) or raises `Refusal`. It is asked only when nothing of this function is in
flight, so the table is as the function last saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bento.firewall import commands as c
from bento.firewall import guards, limits, replies
from bento.firewall.events import View
from bento.firewall.ownership import Circuit, Ownership
from bento.firewall.permissions import PERMISSIONS, Grants
from bento.firewall.quota import Bucket
from bento.firewall.refusal import Refusal, exhausted, malformed, needs, never, unknown
from bento.firewall.rules import (
    COMMANDS,
    EVENTS,
    FEATURES,
    LEAVE_UNATTACHED,
    OPTIONS,
    Source,
    event_rule,
    info_rule,
)
from bento.firewall.usage import Usage
from bento.firewall.values import onion_address, safe_path
from bento.tor.control_codec import Reply, encode_command


@dataclass(frozen=True, slots=True)
class Settings:
    """One function's place behind the firewall.

    `onion_socket` is the unix socket of the box that leads into the sandbox, `onion_ports` such
    sockets for single TCP ports of the sandbox; without an `onion_socket` a port that names no
    target is its own, as with tor. `socks_listeners` are addresses inside the sandbox. `own_relays`
    are fingerprints (40 hex digits) no circuit may contain. `usage` is kept over the connections
    of a function if given, else each counts alone.
    """

    isolation_key: str
    grants: Grants
    tor_version: str = "0.4.9"
    own_relays: frozenset[str] = frozenset()
    socks_listeners: tuple[str, ...] = ()
    onion_socket: str | None = None
    onion_ports: Mapping[int, str] = field(default_factory=dict)
    usage: Usage | None = None

    def __post_init__(self) -> None:
        for path in (self.onion_socket, *self.onion_ports.values()):
            if path is not None:
                safe_path(path)


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply, without tor. `hold` says whether streams are to wait for this function."""

    reply: bytes
    hold: bool | None = None
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    """A command for tor, the reply to make of tor's 250, and perhaps a command of the firewall's
    own that must follow it at once."""

    wire: bytes
    done: Callable[[Reply, float], bytes]
    follow: Callable[[Reply], bytes | None] | None = None


Decision = Answer | Forward


def _accepted(reply: Reply, now: float) -> bytes:
    return replies.OK


class Judge:
    """Decides for one function. Not shared."""

    def __init__(self, settings: Settings, own: Ownership, now: float) -> None:
        self._settings = settings
        self._grants = settings.grants
        self._own = own
        self.view = View(settings.isolation_key, own)
        self.usage = settings.usage or Usage()
        self.asked_events: frozenset[str] = frozenset()
        self.leave_unattached = False
        self._buckets = {
            name: Bucket(number / 60, number, now)
            for name, number in self._grants.numbers.items()
            if PERMISSIONS[name].counts.endswith("a minute")
        }
        circuits = self._grants.number("circuits")
        rate = circuits * limits.BUILDS_PER_CIRCUIT / 60
        self._builds = Bucket(rate, circuits * 2, now)

    def judge(self, command: c.Command, now: float) -> Decision:
        return _HANDLERS[type(command)](self, command, now)

    # -- permissions and quotas ------------------------------------------------------------

    def _need(self, permission: str, what: str, status: int = 510) -> None:
        if permission and permission not in self._grants:
            raise needs(what, permission, status)
        if permission:
            self.usage.level(permission)

    def _room(self, permission: str, used: int, what: str) -> None:
        number = self._grants.number(permission)
        if used >= number:
            raise exhausted(what, permission, number, PERMISSIONS[permission].most)
        self.usage.level(permission, used + 1)

    def _spend(self, permission: str, amount: int, now: float, what: str) -> None:
        number = self._grants.number(permission)
        if not self._buckets[permission].take(amount, now):
            raise exhausted(what, permission, number, PERMISSIONS[permission].most)
        self.usage.spend(permission, amount, now)

    # -- answered here ---------------------------------------------------------------------

    def _protocol_info(self, command: c.ProtocolInfo, now: float) -> Decision:
        return Answer(replies.protocol_info(self._settings.tor_version))

    def _authenticate(self, command: c.Authenticate, now: float) -> Decision:
        return Answer(replies.OK)

    def _quit(self, command: c.Quit, now: float) -> Decision:
        return Answer(replies.CLOSING, ends=True)

    def _use_feature(self, command: c.UseFeature, now: float) -> Decision:
        return Answer(replies.OK)

    def _get_conf(self, command: c.GetConf, now: float) -> Decision:
        own = {LEAVE_UNATTACHED: str(int(self.leave_unattached))}
        return Answer(replies.options(tuple((o, own.get(o, OPTIONS[o])) for o in command.options)))

    def _set_conf(self, command: c.SetConf, now: float) -> Decision:
        self._need(COMMANDS["SETCONF"].permission, f"SETCONF {LEAVE_UNATTACHED}")
        self.leave_unattached = command.leave_unattached
        return Answer(replies.OK, hold=command.leave_unattached)

    # -- GETINFO and SETEVENTS -------------------------------------------------------------

    def _get_info(self, command: c.GetInfo, now: float) -> Decision:
        rules = [info_rule(key)[0] for key in command.keys]
        for rule, asked in zip(rules, command.asked, strict=True):
            self._need(rule.permission, f"GETINFO {asked}", 552)
        cost = sum(rule.cost for rule in rules if rule.permission == "directory")
        if cost:
            self._spend("directory", cost, now, "this look-up")
        for_tor = [
            key
            for key, rule in zip(command.keys, rules, strict=True)
            if rule.source is not Source.FIREWALL
        ]
        if not for_tor:
            return Answer(self._info_reply(command, {}))
        wire = encode_command("GETINFO " + " ".join(for_tor))
        return Forward(wire, lambda reply, _: self._info_reply(command, _info_values(reply)))

    def _info_reply(self, command: c.GetInfo, told: Mapping[str, str]) -> bytes:
        parts = []
        for key, asked in zip(command.keys, command.asked, strict=True):
            source = info_rule(key)[0].source
            text = self._local_info(key) if source is Source.FIREWALL else told.get(key, "")
            if source is Source.CIRCUITS:
                text = self.view.circuit_status(text)
            elif source is Source.STREAMS:
                text = self.view.stream_status(text)
            elif source is Source.SERVICES:
                text = self.view.services(text)
            elif source is Source.GUARDS:
                text = guards.shown(text)
            parts.append(replies.value(asked, text))
        return b"".join(parts) + replies.OK

    def _local_info(self, key: str) -> str:
        if key == "version":
            return self._settings.tor_version
        if key == "net/listeners/socks":
            return " ".join(f'"{address}"' for address in self._settings.socks_listeners)
        if key == "bento/manifest-line":
            return self.usage.grants().line()
        return " ".join(sorted(EVENTS if key == "events/names" else FEATURES))

    def _set_events(self, command: c.SetEvents, now: float) -> Decision:
        rules = [event_rule(name) for name in command.events]
        for rule in rules:
            self._need(rule.permission, f"the event {rule.name}")
            if rule.permission and not rule.silent:
                self._need("events", f"the event {rule.name}")
        wanted = frozenset(rule.name for rule in rules if not rule.silent)

        def done(reply: Reply, _: float) -> bytes:
            self.asked_events = wanted
            return replies.OK

        return Forward(subscription(wanted), done)

    # -- circuits and streams --------------------------------------------------------------

    def _extend_circuit(self, command: c.ExtendCircuit, now: float) -> Decision:
        # 552 and 512 are the only statuses of EXTENDCIRCUIT whose words stem shows.
        self._need("circuits", "EXTENDCIRCUIT", 552)
        if not self._settings.own_relays.isdisjoint(command.path):
            raise never("a circuit through the box's own relay", "it would see both ends", 552)
        before = 0
        if command.circuit:
            before = self._made(command.circuit).hops
        else:
            self._room("circuits", len(self._own.made), "another circuit")
        hops = before + len(command.path)
        if command.path and not limits.MIN_HOPS <= hops <= limits.MAX_HOPS:
            raise malformed(
                f"a circuit has {limits.MIN_HOPS} to {limits.MAX_HOPS} relays", status=513
            )
        if not self._builds.take(1, now):
            number = self._grants.number("circuits")
            raise exhausted(
                "building circuits so fast", "circuits", number, PERMISSIONS["circuits"].most
            )
        # tor puts nobody's streams on a circuit of the purpose "controller" by itself: with any
        # other one, a function's circuit could be given another's stream. But it cannot choose a
        # path for that purpose (a bug of 0.4.9: a stack trace, and 551). So such a circuit begins
        # as a general one and is changed in the next command, long before it is built.
        chosen_by_tor = not command.circuit and not command.path
        purpose = "" if command.circuit else "general" if chosen_by_tor else "controller"
        rebuilt = c.ExtendCircuit(command.circuit, command.path, purpose)

        def done(reply: Reply, _now: float) -> bytes:
            word, _, number = reply.text.partition(" ")
            if word != "EXTENDED" or not number.isascii() or not number.isdigit():
                return replies.one_line(551, "tor's answer cannot be read")
            if command.circuit in self._own.circuits:
                self._own.circuits[command.circuit].hops = hops
            elif not command.circuit:
                self._own.add_circuit(int(number), hops)
            return replies.one_line(250, f"EXTENDED {int(number)}")

        wire = encode_command(rebuilt.line())
        return Forward(wire, done, _take_out_of_use if chosen_by_tor else None)

    def _made(self, number: int) -> Circuit:
        circuit = self._own.made_circuit(number)
        if circuit is None:
            raise unknown("circuit", str(number))
        return circuit

    def _close_circuit(self, command: c.CloseCircuit, now: float) -> Decision:
        self._need("circuits", "CLOSECIRCUIT")
        if self._own.circuit(command.circuit) is None:
            raise unknown("circuit", str(command.circuit))

        def done(reply: Reply, _: float) -> bytes:
            # With IfUnused tor says OK and may leave it open.
            if not command.if_unused and command.circuit in self._own.circuits:
                self._own.close_circuit(command.circuit)
            return replies.OK

        return Forward(encode_command(command.line()), done)

    def _attach_stream(self, command: c.AttachStream, now: float) -> Decision:
        self._need("streams", "ATTACHSTREAM")
        self._stream(command.stream)
        if command.circuit:
            self._made(command.circuit)
        return Forward(encode_command(command.line()), _accepted)

    def _close_stream(self, command: c.CloseStream, now: float) -> Decision:
        self._need("streams", "CLOSESTREAM")
        self._stream(command.stream)

        def done(reply: Reply, _: float) -> bytes:
            if command.stream in self._own.streams:
                self._own.close_stream(command.stream)
            return replies.OK

        return Forward(encode_command(command.line()), done)

    def _stream(self, number: int) -> None:
        if not self._own.has_stream(number):
            raise unknown("stream", str(number))

    # -- onion services --------------------------------------------------------------------

    def _add_onion(self, command: c.AddOnion, now: float) -> Decision:
        self._need("onion-services", "ADD_ONION")
        if command.key is not None:
            self._need("onion-keys", "ADD_ONION with a key")
        self._room("onion-services", len(self._own.services), "another onion service")
        targets = tuple(self._target(port) for port in command.ports)
        discard = command.discard_key or "onion-keys" not in self._grants
        if command.key is None and not discard:
            self.usage.level("onion-keys")
        rebuilt = c.AddOnion(
            command.key, command.ports, discard, command.max_streams, command.client_keys
        )

        def done(reply: Reply, _: float) -> bytes:
            return self._service_added(reply, key_known=command.key is not None or not discard)

        return Forward(encode_command(rebuilt.line(targets)), done)

    def _target(self, port: c.ServicePort) -> str:
        ports, own_socket = self._settings.onion_ports, self._settings.onion_socket
        if port.target is not None and port.target in ports:
            return ports[port.target]
        if own_socket is not None:
            return own_socket
        if port.target is None and port.virtual in ports:
            return ports[port.virtual]
        raise never(f"the target of port {port.virtual}", "the box opened no way to it", 513)

    def _service_added(self, reply: Reply, *, key_known: bool) -> bytes:
        told = dict(_pair(line.text) for line in reply.lines[:-1])
        try:
            address = onion_address(told.get("ServiceID", ""))
        except Refusal:
            return replies.one_line(551, "tor's answer cannot be read")
        self._own.add_service(address, key_known=key_known)
        parts = [replies.value("ServiceID", address)]
        if "PrivateKey" in told and key_known:
            parts.append(replies.value("PrivateKey", told["PrivateKey"]))
        parts += [
            replies.value(*_pair(line.text))
            for line in reply.lines[:-1]
            if line.text.startswith("ClientAuthV3=")
        ]
        return b"".join(parts) + replies.OK

    def _del_onion(self, command: c.DelOnion, now: float) -> Decision:
        self._need("onion-services", "DEL_ONION")
        if command.address not in self._own.services:
            raise Refusal(552, "Unknown Onion Service id")

        def done(reply: Reply, _: float) -> bytes:
            self._own.services.discard(command.address)
            return replies.OK

        return Forward(encode_command(command.line()), done)

    def _hs_fetch(self, command: c.HsFetch, now: float) -> Decision:
        self._need("onion-fetch", "HSFETCH")
        self._spend("onion-fetch", max(1, len(command.servers)), now, "this fetch")
        self._own.add_fetch(command.address, now)
        return Forward(encode_command(command.line()), _accepted)

    def _hs_post(self, command: c.HsPost, now: float) -> Decision:
        self._need("onion-publish", "HSPOST")
        if command.address not in self._own.proved:
            raise Refusal(
                513,
                "Bento firewall: HSPOST needs the proof that the address is the function's",
                'bring its key with ADD_ONION first, which tor = ["onion-keys"] would allow',
            )
        self._spend(
            "onion-publish", max(1, len(command.servers)), now, "publishing this descriptor"
        )
        data = command.descriptor.decode("ascii")
        return Forward(encode_command(command.line(), data), _accepted)


def subscription(events: frozenset[str]) -> bytes:
    """SETEVENTS for tor: what the function asked for, and what the ownership table lives on."""
    return encode_command(c.SetEvents(tuple(sorted(events | {"CIRC", "STREAM"}))).line())


def _take_out_of_use(reply: Reply) -> bytes | None:
    number = reply.text.partition(" ")[2]
    if not number.isascii() or not number.isdigit():
        return None
    return encode_command(c.SetCircuitPurpose(int(number)).line())


def _info_values(reply: Reply) -> dict[str, str]:
    told: dict[str, str] = {}
    for line in reply.lines[:-1]:
        key, text = _pair(line.text)
        told[key] = text if line.data is None else line.data
    return told


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


_HANDLERS: Mapping[type[Any], Callable[[Judge, Any, float], Decision]] = {
    c.ProtocolInfo: Judge._protocol_info,
    c.Authenticate: Judge._authenticate,
    c.Quit: Judge._quit,
    c.UseFeature: Judge._use_feature,
    c.GetConf: Judge._get_conf,
    c.SetConf: Judge._set_conf,
    c.GetInfo: Judge._get_info,
    c.SetEvents: Judge._set_events,
    c.ExtendCircuit: Judge._extend_circuit,
    c.CloseCircuit: Judge._close_circuit,
    c.AttachStream: Judge._attach_stream,
    c.CloseStream: Judge._close_stream,
    c.AddOnion: Judge._add_onion,
    c.DelOnion: Judge._del_onion,
    c.HsFetch: Judge._hs_fetch,
    c.HsPost: Judge._hs_post,
}
