"""The typed grammar: a raw command -> a `Command` value, or `Refusal`. No regular expressions.

Invariant: a command whose row in `rules.COMMANDS` is not REFUSED has a parser here, and no other.
A parser accepts exactly the forms it names; an argument it does not know is refused, never
dropped, except where the box overrides it anyway (flags and limits of ADD_ONION).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from bento.firewall import commands as c
from bento.firewall import limits, values
from bento.firewall.reader import RawCommand
from bento.firewall.refusal import malformed, never
from bento.firewall.rules import FEATURES, LEAVE_UNATTACHED, OPTIONS, command_rule, info_rule


class Token(NamedTuple):
    """One argument. `quoted` is the content of a quoted string, which may follow `head`="KEY="."""

    head: str
    quoted: str | None = None

    def plain(self) -> str:
        """The argument, which must not be quoted."""
        if self.quoted is not None:
            raise malformed("a quoted string is not expected here")
        return self.head

    def pair(self) -> tuple[str, str]:
        """KEY=value or KEY="value"; the key in upper case."""
        if self.quoted is not None:
            return self.head.removesuffix("=").upper(), self.quoted
        key, equals, value = self.head.partition("=")
        if not equals:
            raise malformed("an argument must have the form KEY=VALUE")
        return key.upper(), value


Tokens = tuple[Token, ...]


def tokens(text: str) -> Tokens:
    """Split arguments at spaces, with quoted strings kept whole (control-spec §2.1.1)."""
    if '"' not in text and "\\" not in text:
        return tuple(Token(part) for part in text.split(" ") if part)
    return tuple(_tokens(text))


def _tokens(text: str) -> Iterator[Token]:
    at, end = 0, len(text)
    while at < end:
        if text[at] == " ":
            at += 1
            continue
        start = at
        while at < end and text[at] not in ' "\\':
            at += 1
        head = text[start:at]
        if at == end or text[at] == " ":
            yield Token(head)
            continue
        if text[at] != '"' or (head and head.find("=") != len(head) - 1):
            raise malformed("a quote stands where none may")
        quoted, at = _quoted(text, at + 1)
        if at < end and text[at] != " ":
            raise malformed("a quoted string must end its argument")
        yield Token(head, quoted)


def _quoted(text: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    while at < len(text):
        char = text[at]
        if char == '"':
            return "".join(parts), at + 1
        if char == "\\":
            at += 1
            char = text[at : at + 1]
            if char not in ("\\", '"'):
                raise malformed("a quoted string may escape only quotes and backslashes")
        parts.append(char)
        at += 1
    raise malformed("a quoted string does not end")


def parse(raw: RawCommand) -> c.Command:
    """Read one command. Raises Refusal for what is malformed, unknown or always refused."""
    command_rule(raw.keyword)
    if raw.keyword == "HSPOST":
        return _hs_post(tokens(raw.arguments), raw.data)
    if raw.data is not None:
        raise malformed(f"{raw.keyword} takes no data")
    if raw.keyword == "AUTHENTICATE":
        return c.Authenticate()
    return PARSERS[raw.keyword](tokens(raw.arguments))


def _count(args: Tokens, low: int, high: int, command: str) -> None:
    if not low <= len(args) <= high:
        raise malformed(f"{command} takes {low} to {high} arguments, not {len(args)}")


def _protocol_info(args: Tokens) -> c.ProtocolInfo:
    for arg in args:
        values.number(arg.plain(), 0, 1000, "a PROTOCOLINFO version")
    return c.ProtocolInfo()


def _quit(args: Tokens) -> c.Quit:
    _count(args, 0, 0, "QUIT")
    return c.Quit()


def _use_feature(args: Tokens) -> c.UseFeature:
    _count(args, 0, 8, "USEFEATURE")
    features = tuple(values.word(arg.plain()) for arg in args)
    for feature in features:
        if feature not in FEATURES:
            raise never(f"the feature {feature}", "tor has no such feature", 552)
    return c.UseFeature(features)


_OPTIONS = {name.upper(): name for name in OPTIONS}


def _option(name: str) -> str:
    found = _OPTIONS.get(name.upper())
    if found is None:
        raise never(
            f"the option {values.shown(name)}", "it tells or changes how the box runs tor", 552
        )
    return found


def _get_conf(args: Tokens) -> c.GetConf:
    _count(args, 0, limits.MAX_KEYS, "GETCONF")
    return c.GetConf(tuple(_option(arg.plain()) for arg in args))


def _set_conf(args: Tokens) -> c.SetConf:
    _count(args, 1, 1, "SETCONF")
    name, equals, _ = args[0].head.partition("=")
    value = args[0].pair()[1] if equals else "0"
    if _option(name) != LEAVE_UNATTACHED:
        raise never(f"SETCONF {_option(name)}", "it would change tor for everybody")
    return c.SetConf(bool(values.number(value.strip(), 0, 1, LEAVE_UNATTACHED)))


def _reset_conf(args: Tokens) -> c.SetConf:
    _count(args, 1, 1, "RESETCONF")
    if _option(args[0].plain()) != LEAVE_UNATTACHED:
        raise never("RESETCONF of this option", "it would change tor for everybody")
    return c.SetConf(False)


def _get_info(args: Tokens) -> c.GetInfo:
    _count(args, 1, limits.MAX_KEYS, "GETINFO")
    asked = tuple(arg.plain() for arg in args)
    keys = tuple(info_rule(key)[1] for key in asked)
    if len(set(keys)) != len(keys):
        raise malformed("a GETINFO key stands twice")
    return c.GetInfo(keys, asked)


def _set_events(args: Tokens) -> c.SetEvents:
    _count(args, 0, 64, "SETEVENTS")
    names = dict.fromkeys(values.word(arg.plain()) for arg in args)
    names.pop("EXTENDED", None)  # control-spec §3.4: accepted and without meaning since 0.2.2
    return c.SetEvents(tuple(names))


_PURPOSES = {"GENERAL": "general", "CONTROLLER": "controller"}


def _extend_circuit(args: Tokens) -> c.ExtendCircuit:
    _count(args, 1, 3, "EXTENDCIRCUIT")
    circuit = values.identifier(args[0].plain(), "circuit")
    rest = list(args[1:])
    purpose = ""
    if rest and rest[-1].plain().lower().startswith("purpose="):
        purpose = _PURPOSES.get(rest.pop().pair()[1].upper(), "")
        if not purpose:
            raise malformed("the purpose of a circuit may be general or controller", 513)
    if len(rest) > 1:
        raise malformed("EXTENDCIRCUIT takes one path", 513)
    path = _path(rest[0].plain()) if rest else ()
    if circuit and not path:
        raise malformed("to extend a circuit name the relays")
    return c.ExtendCircuit(circuit, path, purpose)


def _path(text: str) -> tuple[str, ...]:
    names = text.split(",")
    if len(names) > limits.MAX_HOPS:
        raise malformed(f"a circuit has at most {limits.MAX_HOPS} relays", 513)
    path = tuple(values.fingerprint(name) for name in names)
    if len(set(path)) != len(path):
        raise malformed("a relay stands twice in a circuit", 513)
    return path


def _close_circuit(args: Tokens) -> c.CloseCircuit:
    _count(args, 1, 2, "CLOSECIRCUIT")
    circuit = values.identifier(args[0].plain(), "circuit")
    if len(args) == 2 and args[1].plain().upper() != "IFUNUSED":
        raise malformed("the one flag of CLOSECIRCUIT is IfUnused", 513)
    return c.CloseCircuit(circuit, len(args) == 2)


def _attach_stream(args: Tokens) -> c.AttachStream:
    _count(args, 2, 2, "ATTACHSTREAM (HOP is refused)")
    stream = values.identifier(args[0].plain(), "stream")
    return c.AttachStream(stream, values.identifier(args[1].plain(), "circuit"))


def _close_stream(args: Tokens) -> c.CloseStream:
    _count(args, 2, 2, "CLOSESTREAM")
    stream = values.identifier(args[0].plain(), "stream")
    return c.CloseStream(stream, values.number(args[1].plain(), 1, 255, "the reason"))


def _add_onion(args: Tokens) -> c.AddOnion:
    _count(args, 2, 8 + limits.MAX_PORTS + limits.MAX_CLIENT_KEYS, "ADD_ONION")
    key = _service_key(args[0].plain())
    ports: list[c.ServicePort] = []
    client_keys: list[str] = []
    single: dict[str, str] = {}
    for arg in args[1:]:
        name, value = Token(arg.plain()).pair()
        if name == "PORT":
            ports.append(_service_port(value))
        elif name == "CLIENTAUTHV3":
            client_keys.append(values.client_key(value))
        elif name in _ADD_ONION_SINGLE and name not in single:
            single[name] = value
        else:
            raise malformed(f"ADD_ONION does not take {values.shown(name)} here", 513)
    _check_counts(ports, client_keys)
    flags = _flags(single.get("FLAGS", ""))
    _check_overridden(single)
    wanted = values.number(single.get("MAXSTREAMS", "0"), 0, 65535, "MaxStreams")
    return c.AddOnion(
        key,
        tuple(ports),
        "DISCARDPK" in flags,
        min(wanted or limits.SERVICE_MAX_STREAMS, limits.SERVICE_MAX_STREAMS),
        tuple(client_keys),
    )


_ADD_ONION_SINGLE = frozenset(
    {"FLAGS", "MAXSTREAMS", "POWDEFENSESENABLED", "POWQUEUERATE", "POWQUEUEBURST"}
)
_FLAGS = frozenset({"DISCARDPK", "V3AUTH", "MAXSTREAMSCLOSECIRCUIT"})
_FORBIDDEN_FLAGS: Mapping[str, str] = {
    "DETACH": "a service must end with its function",
    "NONANONYMOUS": "it would show where the service is",
    "BASICAUTH": "version 2 services are gone",
}


def _service_key(text: str) -> c.ServiceKey | None:
    kind, colon, content = text.partition(":")
    if not colon:
        raise malformed("ADD_ONION begins with a key such as NEW:ED25519-V3")
    if kind.upper() == "NEW":
        if content.upper() not in ("BEST", "ED25519-V3"):
            raise malformed("a new key must be ED25519-V3", 513)
        return None
    if kind.upper() != "ED25519-V3":
        raise malformed("a key must be of the kind ED25519-V3", 513)
    return c.ServiceKey(values.onion_key(content))


def _service_port(text: str) -> c.ServicePort:
    """`80`, `80,8080`, `80,127.0.0.1:8080`, `80,localhost:8080` or `80,unix:...`."""
    virtual_text, comma, target = text.partition(",")
    virtual = values.number(virtual_text, 1, 65535, "a virtual port")
    if not comma or target.lower().startswith("unix:"):
        return c.ServicePort(virtual, None)
    host, colon, port = target.rpartition(":")
    if colon and host.lower() not in ("127.0.0.1", "localhost", "[::1]"):
        raise never("a target outside the sandbox", "an onion service ends inside it", 513)
    return c.ServicePort(virtual, values.number(port, 1, 65535, "a target port"))


def _check_counts(ports: list[c.ServicePort], client_keys: list[str]) -> None:
    if not 1 <= len(ports) <= limits.MAX_PORTS:
        raise malformed(f"an onion service has 1 to {limits.MAX_PORTS} ports")
    if len({port.virtual for port in ports}) != len(ports):
        raise malformed("a virtual port stands twice")
    if len(client_keys) > limits.MAX_CLIENT_KEYS or len(set(client_keys)) != len(client_keys):
        raise malformed(
            f"an onion service has at most {limits.MAX_CLIENT_KEYS} different client keys"
        )


def _flags(text: str) -> frozenset[str]:
    flags = frozenset(flag.upper() for flag in text.split(",")) if text else frozenset()
    for flag in flags:
        if flag in _FORBIDDEN_FLAGS:
            raise never(f"the flag {flag}", _FORBIDDEN_FLAGS[flag], 513)
        if flag not in _FLAGS:
            raise malformed(f"ADD_ONION has no flag {values.shown(flag)}", 513)
    return flags


def _check_overridden(single: Mapping[str, str]) -> None:
    """The proof-of-work numbers are the box's; the function's must at least be numbers."""
    for name in ("POWDEFENSESENABLED", "POWQUEUERATE", "POWQUEUEBURST"):
        values.number(single.get(name, "0"), 0, 2**31 - 1, name)


def _del_onion(args: Tokens) -> c.DelOnion:
    _count(args, 1, 1, "DEL_ONION")
    return c.DelOnion(values.onion_address(args[0].plain()))


def _hs_fetch(args: Tokens) -> c.HsFetch:
    _count(args, 1, 1 + limits.MAX_FETCH_SERVERS, "HSFETCH")
    address = values.onion_address(args[0].plain())
    servers = []
    for arg in args[1:]:
        key, value = Token(arg.plain()).pair()
        if key != "SERVER":
            raise malformed("HSFETCH takes an address and SERVER=", 513)
        servers.append(values.fingerprint(value))
    return c.HsFetch(address, tuple(dict.fromkeys(servers)))


def _hs_post(args: Tokens, data: bytes | None) -> c.HsPost:
    if data is None:
        raise malformed("HSPOST must be sent as +HSPOST with a descriptor")
    _count(args, 1, 1 + limits.MAX_POST_SERVERS, "HSPOST")
    addresses, servers = [], []
    for arg in args:
        key, value = Token(arg.plain()).pair()
        if key == "HSADDRESS":
            addresses.append(values.onion_address(value))
        elif key == "SERVER":
            servers.append(values.fingerprint(value))
        else:
            raise malformed("HSPOST takes HSADDRESS= and SERVER=", 513)
    if len(addresses) != 1:
        raise malformed("HSPOST takes one HSADDRESS=", 513)
    if not data.startswith(b"hs-descriptor 3\n") or len(data) > limits.MAX_DESCRIPTOR:
        raise malformed(
            f"a descriptor is of version 3 and at most {limits.MAX_DESCRIPTOR} bytes", 554
        )
    return c.HsPost(addresses[0], data, tuple(dict.fromkeys(servers)))


PARSERS: Mapping[str, Callable[[Tokens], c.Command]] = {
    "PROTOCOLINFO": _protocol_info,
    "QUIT": _quit,
    "USEFEATURE": _use_feature,
    "GETCONF": _get_conf,
    "SETCONF": _set_conf,
    "RESETCONF": _reset_conf,
    "GETINFO": _get_info,
    "SETEVENTS": _set_events,
    "EXTENDCIRCUIT": _extend_circuit,
    "CLOSECIRCUIT": _close_circuit,
    "ATTACHSTREAM": _attach_stream,
    "CLOSESTREAM": _close_stream,
    "ADD_ONION": _add_onion,
    "DEL_ONION": _del_onion,
    "HSFETCH": _hs_fetch,
}
