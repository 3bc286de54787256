# ruff: noqa: E501, SIM905
"""Every command of control-spec with every kind of argument: what the rule table says happens.

A row is what the function says, and then the command tor gets, or the status it is refused with,
or the answer the firewall gives itself. The function has all permissions, so a refusal here is
never for the lack of one.
"""

from __future__ import annotations

import pytest
from tests.firewall.kit import (
    CLIENT_KEY,
    OTHER_SERVICE,
    OWN_RELAY,
    OWN_SERVICE,
    RELAYS,
    SECRET_KEY,
    Talk,
    address,
    sent,
    told,
)

from bento.firewall.rules import COMMANDS, Fate

A, B, C, D, E, F, G, H, K = RELAYS[:9]
POW = "PoWDefensesEnabled=1 PoWQueueRate=20 PoWQueueBurst=40"
TARGET = "unix:/run/bento/f1/onion"
SERVICE = f"Flags=MaxStreamsCloseCircuit MaxStreams=64 {POW} Port=80,{TARGET}"

# control-spec §3, every command of tor 0.4.9, whatever the rule table knows.
ALL_COMMANDS = frozenset(
    "SETCONF RESETCONF GETCONF SETEVENTS AUTHENTICATE SAVECONF SIGNAL MAPADDRESS GETINFO "
    "EXTENDCIRCUIT SETCIRCUITPURPOSE SETROUTERPURPOSE ATTACHSTREAM POSTDESCRIPTOR REDIRECTSTREAM "
    "CLOSESTREAM CLOSECIRCUIT QUIT USEFEATURE RESOLVE PROTOCOLINFO LOADCONF TAKEOWNERSHIP "
    "DROPOWNERSHIP AUTHCHALLENGE DROPGUARDS DROPTIMEOUTS HSFETCH ADD_ONION DEL_ONION HSPOST "
    "ONION_CLIENT_AUTH_ADD ONION_CLIENT_AUTH_REMOVE ONION_CLIENT_AUTH_VIEW".split(" ")
)

TO_TOR = [
    ("EXTENDCIRCUIT 0", "EXTENDCIRCUIT 0 purpose=general"),
    ("extendcircuit 0 purpose=general", "EXTENDCIRCUIT 0 purpose=general"),
    (f"EXTENDCIRCUIT 0 {A},{B}", f"EXTENDCIRCUIT 0 ${A},${B} purpose=controller"),
    (f"EXTENDCIRCUIT  0  ${A}~one,${B}=two ", f"EXTENDCIRCUIT 0 ${A},${B} purpose=controller"),
    (f"EXTENDCIRCUIT 0 {A.lower()},{B} purpose=controller", f"EXTENDCIRCUIT 0 ${A},${B} purpose=controller"),
    (f"EXTENDCIRCUIT 5 {D}", f"EXTENDCIRCUIT 5 ${D}"),
    (f"EXTENDCIRCUIT 005 {D},{E},{F},{G},{H}", f"EXTENDCIRCUIT 5 ${D},${E},${F},${G},${H}"),
    ("CLOSECIRCUIT 5", "CLOSECIRCUIT 5"),
    ("CLOSECIRCUIT 5 ", "CLOSECIRCUIT 5"),
    ("CLOSECIRCUIT 5 ifunused", "CLOSECIRCUIT 5 IfUnused"),
    ("ATTACHSTREAM 11 5", "ATTACHSTREAM 11 5"),
    ("ATTACHSTREAM 11 0", "ATTACHSTREAM 11 0"),
    ("CLOSESTREAM 11 1", "CLOSESTREAM 11 1"),
    ("CLOSESTREAM 11 255 ", "CLOSESTREAM 11 255"),
    ("SETEVENTS", "SETEVENTS CIRC STREAM"),
    ("SETEVENTS SIGNAL CONF_CHANGED STATUS_SERVER", "SETEVENTS CIRC STREAM"),
    ("SETEVENTS circ", "SETEVENTS CIRC STREAM"),
    ("SETEVENTS EXTENDED STREAM_BW CIRC_BW", "SETEVENTS CIRC CIRC_BW STREAM STREAM_BW"),
    ("SETEVENTS HS_DESC HS_DESC_CONTENT CIRC_MINOR", "SETEVENTS CIRC CIRC_MINOR HS_DESC HS_DESC_CONTENT STREAM"),
    ("GETINFO circuit-status", "GETINFO circuit-status"),
    ("GETINFO version stream-status onions/current", "GETINFO stream-status onions/current"),
    (f"GETINFO ns/id/${A.lower()}", f"GETINFO ns/id/{A}"),
    (f"GETINFO md/id/{A} desc/id/{B}", f"GETINFO md/id/{A} desc/id/{B}"),
    ("GETINFO ns/name/moria1", "GETINFO ns/name/moria1"),
    ("GETINFO ns/all", "GETINFO ns/all"),
    ("GETINFO ip-to-country/192.0.2.1", "GETINFO ip-to-country/192.0.2.1"),
    ("GETINFO sr/current consensus/valid-after", "GETINFO sr/current consensus/valid-after"),
    ("GETINFO dir/status-vote/current/consensus", "GETINFO dir/status-vote/current/consensus"),
    ("ADD_ONION NEW:ED25519-V3 Port=80", f"ADD_ONION NEW:ED25519-V3 {SERVICE}"),
    ("ADD_ONION NEW:BEST Port=80,127.0.0.1:22", f"ADD_ONION NEW:ED25519-V3 {SERVICE}"),
    ("ADD_ONION new:best Port=80,unix:/var/run/docker.sock", f"ADD_ONION NEW:ED25519-V3 {SERVICE}"),
    ("ADD_ONION NEW:BEST Flags=DiscardPK Port=80,8080", f"ADD_ONION NEW:ED25519-V3 Flags=DiscardPK,MaxStreamsCloseCircuit MaxStreams=64 {POW} Port=80,{TARGET}-8080"),
    ("ADD_ONION NEW:BEST MaxStreams=3 Port=80,localhost:1", f"ADD_ONION NEW:ED25519-V3 Flags=MaxStreamsCloseCircuit MaxStreams=3 {POW} Port=80,{TARGET}"),
    ("ADD_ONION NEW:BEST MaxStreams=65535 PoWQueueRate=99999 Port=80", f"ADD_ONION NEW:ED25519-V3 {SERVICE}"),
    (f"ADD_ONION ED25519-V3:{SECRET_KEY} Port=80", f"ADD_ONION ED25519-V3:{SECRET_KEY} {SERVICE}"),
    (f"ADD_ONION NEW:BEST Flags=V3Auth Port=80 ClientAuthV3={CLIENT_KEY}", f"ADD_ONION NEW:ED25519-V3 Flags=MaxStreamsCloseCircuit,V3Auth MaxStreams=64 {POW} Port=80,{TARGET} ClientAuthV3={CLIENT_KEY}"),
    (f"DEL_ONION {OWN_SERVICE}", f"DEL_ONION {OWN_SERVICE}"),
    (f"HSFETCH {OTHER_SERVICE}", f"HSFETCH {OTHER_SERVICE}"),
    (f"HSFETCH {OTHER_SERVICE.upper()} SERVER={A}", f"HSFETCH {OTHER_SERVICE} SERVER=${A}"),
    (f"+HSPOST HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n..x\r\n.", f"+HSPOST HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n..x\r\n."),
    (f"+hspost HSADDRESS={OWN_SERVICE} SERVER={A} server=${B}~name\r\nhs-descriptor 3\r\n.", f"+HSPOST SERVER=${A} SERVER=${B} HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n."),
]  # fmt: skip

ANSWERED = [
    ("PROTOCOLINFO", "250-PROTOCOLINFO 1"),
    ("PROTOCOLINFO 1 2", "250-PROTOCOLINFO 1"),
    ("AUTHENTICATE", "250 OK"),
    ("AUTHENTICATE 00ff", "250 OK"),
    ('AUTHENTICATE "pass\\"word', "250 OK"),
    ("QUIT", "250 closing connection"),
    ("USEFEATURE EXTENDED_EVENTS verbose_names", "250 OK"),
    ("GETCONF", "250 OK"),
    ("GETCONF __leavestreamsunattached", "250 __LeaveStreamsUnattached=0"),
    ("GETCONF __OwningControllerProcess", "250 __OwningControllerProcess"),
    ("GETCONF UseMicrodescriptors HiddenServiceSingleHopMode", "250-UseMicrodescriptors=1"),
    ("SETCONF __LeaveStreamsUnattached=1", "250 OK"),
    ('SETCONF __LeaveStreamsUnattached="1"', "250 OK"),
    ("SETCONF __LeaveStreamsUnattached", "250 OK"),
    ("RESETCONF __LeaveStreamsUnattached", "250 OK"),
    ("GETINFO version", "250-version=0.4.9.11"),
    ("GETINFO net/listeners/socks", '250-net/listeners/socks="127.0.0.1:9050"'),
    ("GETINFO features/names", "250-features/names=EXTENDED_EVENTS VERBOSE_NAMES"),
    ("GETINFO events/names", "250-events/names=CIRC CIRC_BW"),
]

NINE = ",".join(RELAYS[:9])

REFUSED = [
    ("SETCONF Log=debug file /etc/cron.d/x", 512),
    ('SETCONF Log="debug file /etc/cron.d/x"', 552),
    ("SETCONF SocksPort=0", 552),
    ("SETCONF UseMicrodescriptors=0", 510),
    ("SETCONF __LeaveStreamsUnattached=1 SocksPort=0", 512),
    ("SETCONF __LeaveStreamsUnattached=2", 512),
    ('SETCONF __LeaveStreamsUnattached="1" SocksPort=0', 512),
    ("SETCONF", 512),
    ("RESETCONF SocksPort", 552),
    ("RESETCONF UseMicrodescriptors", 510),
    ("RESETCONF", 512),
    ("GETCONF SocksPort", 552),
    ("GETCONF UseMicrodescriptors ControlPort", 552),
    ("GETCONF " + "UseMicrodescriptors " * 17, 512),
    ("USEFEATURE MIND_READING", 552),
    ("QUIT now", 512),
    ("PROTOCOLINFO one", 512),
    ("EXTENDCIRCUIT", 512),
    ("EXTENDCIRCUIT x", 552),
    ("EXTENDCIRCUIT -1", 552),
    ("EXTENDCIRCUIT 5", 512),
    (f"EXTENDCIRCUIT 6 {D}", 552),
    (f"EXTENDCIRCUIT 99 {D}", 552),
    (f"EXTENDCIRCUIT 0 {A}", 513),
    (f"EXTENDCIRCUIT 0 {NINE}", 513),
    (f"EXTENDCIRCUIT 5 {D},{E},{F},{G},{H},{K}", 513),
    (f"EXTENDCIRCUIT 0 {A},{A}", 513),
    (f"EXTENDCIRCUIT 0 {A},{OWN_RELAY}", 552),
    (f"EXTENDCIRCUIT 0 {A},{OWN_RELAY.lower()}~x", 552),
    (f"EXTENDCIRCUIT 5 {OWN_RELAY}", 552),
    (f"EXTENDCIRCUIT 0 {A},moria1", 512),
    (f"EXTENDCIRCUIT 0 {A},", 512),
    (f"EXTENDCIRCUIT 0 {A},{B}~bad-nick", 512),
    (f"EXTENDCIRCUIT 0 {A},{B}x", 512),
    (f"EXTENDCIRCUIT 0 {A},{B} purpose=bridge", 513),
    (f"EXTENDCIRCUIT 0 {A},{B} {C}", 513),
    (f'EXTENDCIRCUIT 0 "{A},{B}"', 512),
    ("CLOSECIRCUIT", 512),
    ("CLOSECIRCUIT 6", 552),
    ("CLOSECIRCUIT 0", 552),
    ("CLOSECIRCUIT five", 552),
    ("CLOSECIRCUIT 5 Force", 513),
    ("CLOSECIRCUIT 5 IfUnused 6", 512),
    ("ATTACHSTREAM 12 5", 552),
    ("ATTACHSTREAM 11 6", 552),
    ("ATTACHSTREAM 11 99", 552),
    ("ATTACHSTREAM 11 5 HOP=2", 512),
    ("ATTACHSTREAM 11", 512),
    ("ATTACHSTREAM x 5", 552),
    ("CLOSESTREAM 12 1", 552),
    ("CLOSESTREAM 11 0", 512),
    ("CLOSESTREAM 11 256", 512),
    ("CLOSESTREAM 11", 512),
    ("CLOSESTREAM 11 1 x", 512),
    ("SETEVENTS BW", 552),
    ("SETEVENTS CIRC ORCONN", 552),
    ("SETEVENTS INFO", 552),
    ("SETEVENTS ADDRMAP", 552),
    ("SETEVENTS CIRC,STREAM", 512),
    ("SETEVENTS GUARD", 552),
    ("GETINFO", 512),
    ("GETINFO version version", 512),
    ("GETINFO " + " ".join(f"ns/name/n{n}" for n in range(17)), 512),
    *((f"GETINFO {key}", 552) for key in (
        "config-text", "config-file", "config/names", "address", "traffic/read", "process/pid",
        "orconn-status", "onions/detached", "address-mappings/all", "info/names",
        "net/listeners/control", "hs/client/desc/id/x", "ns/purpose/bridge", "desc/all-recent",
        "status/bootstrap-phase", "accounting/bytes", "uptime", "ns", "ns/", "Version", "version/",
        "network-liveness", "ns/all/", "md/id", "exit-policy/full")),
    ("GETINFO ns/id/moria1", 512),
    (f"GETINFO ns/id/{A}/x", 512),
    ("GETINFO ip-to-country/1.2.3", 512),
    ("GETINFO ip-to-country/ipv4-available", 512),
    ("GETINFO ns/name/a_b", 512),
    ("GETINFO ns/id/../config-text", 512),
    ('GETINFO "version"', 512),
    ("ADD_ONION", 512),
    ("ADD_ONION NEW:BEST", 512),
    ("ADD_ONION NEW Port=80", 512),
    ("ADD_ONION NEW:RSA1024 Port=80", 513),
    ("ADD_ONION RSA1024:abc Port=80", 513),
    ("ADD_ONION ED25519-V3:abc Port=80", 512),
    ("ADD_ONION NEW:BEST Flags=Detach Port=80", 513),
    ("ADD_ONION NEW:BEST Flags=DiscardPK,detach Port=80", 513),
    ("ADD_ONION NEW:BEST Flags=NonAnonymous Port=80", 513),
    ("ADD_ONION NEW:BEST Flags=BasicAuth Port=80", 513),
    ("ADD_ONION NEW:BEST Flags=Unknown Port=80", 513),
    ("ADD_ONION NEW:BEST Flags=DiscardPK Flags=Detach Port=80", 513),
    ("ADD_ONION NEW:BEST Port=80,10.0.0.1:22", 513),
    ("ADD_ONION NEW:BEST Port=80,[::2]:22", 513),
    ("ADD_ONION NEW:BEST Port=80,127.0.0.1:", 512),
    ("ADD_ONION NEW:BEST Port=80,127.0.0.1:99999", 512),
    ("ADD_ONION NEW:BEST Port=0", 512),
    ("ADD_ONION NEW:BEST Port=80 Port=80", 512),
    ("ADD_ONION NEW:BEST " + " ".join(f"Port={n}" for n in range(1, 10)), 512),
    ("ADD_ONION NEW:BEST Port=80 Target=x", 513),
    ("ADD_ONION NEW:BEST Port=80 ClientAuth=bob", 513),
    ("ADD_ONION NEW:BEST Port=80 ClientAuthV3=xyz", 512),
    ('ADD_ONION NEW:BEST Port="80,unix:/x"', 512),
    ("ADD_ONION NEW:BEST MaxStreams=-1 Port=80", 512),
    (f"DEL_ONION {OTHER_SERVICE}", 552),
    (f"DEL_ONION {OWN_SERVICE}.onion", 513),
    ("DEL_ONION " + "a" * 56, 513),
    ("DEL_ONION", 512),
    ("HSFETCH", 512),
    ("HSFETCH v2-abc", 513),
    (f"HSFETCH {OTHER_SERVICE} SERVER=moria1", 512),
    (f"HSFETCH {OTHER_SERVICE} PORT=1", 513),
    (f"HSFETCH {OTHER_SERVICE}" + f" SERVER={A}" * 9, 512),
    (f"HSPOST HSADDRESS={OWN_SERVICE}", 512),
    (f"+HSPOST HSADDRESS={OTHER_SERVICE}\r\nhs-descriptor 3\r\n.", 513),
    (f"+HSPOST SERVER={A} HSADDRESS={OTHER_SERVICE}\r\nhs-descriptor 3\r\n.", 513),
    (f"+HSPOST SERVER=moria1 HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n.", 512),
    (f"+HSPOST SERVER={A}" + f" SERVER={A}" * 16 + f" HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n.", 512),
    (f"+HSPOST SERVER={A}\r\nhs-descriptor 3\r\n.", 513),
    (f"+HSPOST HSADDRESS={OWN_SERVICE} HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n.", 513),
    (f"+HSPOST HSADDRESS={OWN_SERVICE} PORT=1\r\nhs-descriptor 3\r\n.", 513),
    (f"+HSPOST HSADDRESS={OWN_SERVICE}\r\nrouter x\r\n.", 554),
    (f"+HSPOST HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n\x00\r\n.", 512),
    ("+HSPOST\r\nhs-descriptor 3\r\n.", 512),
    ("+GETINFO version\r\nx\r\n.", 512),
    ("+LOADCONF\r\nSocksPort 0\r\n.", 510),
    ("+POSTDESCRIPTOR\r\nrouter x\r\n.", 510),
    ("LOADCONF SocksPort 0", 510),
    ("SAVECONF FORCE", 510),
    ("SIGNAL NEWNYM", 510),
    ("SIGNAL SHUTDOWN", 510),
    ("MAPADDRESS 1.2.3.4=evil.test", 510),
    ("RESOLVE web.test", 510),
    ("REDIRECTSTREAM 11 10.0.0.1 22", 510),
    ("SETCIRCUITPURPOSE 5 purpose=general", 510),
    ("SETROUTERPURPOSE x general", 510),
    ("TAKEOWNERSHIP", 510),
    ("DROPOWNERSHIP", 510),
    ("DROPGUARDS", 510),
    ("DROPTIMEOUTS", 510),
    ("AUTHCHALLENGE SAFECOOKIE 00", 510),
    ("ONION_CLIENT_AUTH_ADD x y", 510),
    ("ONION_CLIENT_AUTH_REMOVE x", 510),
    ("ONION_CLIENT_AUTH_VIEW", 510),
    ("MYSTERY", 510),
    ("", 500),
    (" GETINFO version", 500),
    ("GET INFO", 510),
    ("GETINFO\tversion", 500),
    ("GETINFO version\x00", 500),
    ("GETINFO version\rSIGNAL SHUTDOWN", 500),
    ("GETINFO v\xe9rsion", 500),
    ("+\r\n.", 500),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), TO_TOR)
def test_an_allowed_command_reaches_tor_rebuilt(line, expected):
    outputs = Talk().with_objects().say(line)
    assert told(outputs) == ""
    assert sent(outputs) == [expected]


@pytest.mark.parametrize(("line", "expected"), ANSWERED)
def test_some_commands_are_answered_without_tor(line, expected):
    outputs = Talk().with_objects().say(line)
    assert told(outputs).startswith(expected)
    assert told(outputs).endswith("\r\n")
    assert all(command == "CLOSECIRCUIT 5" for command in sent(outputs))  # after QUIT


@pytest.mark.parametrize(("line", "status"), REFUSED)
def test_everything_else_is_refused_and_never_reaches_tor(line, status):
    outputs = Talk().with_objects().say(line)
    assert sent(outputs) == []
    assert told(outputs).startswith(f"{status} "), told(outputs)
    assert told(outputs).count("\r\n") == 1


def test_the_matrix_covers_every_command_with_the_fate_of_its_row():
    rows = {
        line.strip().lstrip("+").split()[0].upper(): fate
        for table, fate in ((REFUSED, Fate.REFUSED), (ANSWERED, Fate.ANSWERED), (TO_TOR, Fate.REBUILT))
        for line, _ in table
        if line.strip("+\r\n.")
    }  # fmt: skip
    for name in ALL_COMMANDS:
        assert rows[name] is COMMANDS[name].fate, name
    assert set(COMMANDS) == ALL_COMMANDS


def test_a_stranger_and_nobody_are_refused_in_the_same_words():
    """Or a function could learn which circuits, streams and services others have."""
    talk = Talk().with_objects()
    for line in (
        "CLOSECIRCUIT {}",
        "CLOSESTREAM {} 1",
        "ATTACHSTREAM {} 0",
        f"EXTENDCIRCUIT {{}} {D}",
    ):
        strangers = 12 if "STREAM" in line else 6
        there = told(talk.say(line.format(strangers))).replace(str(strangers), "N")
        assert there == told(talk.say(line.format(98765))).replace("98765", "N")
    there = told(talk.say(f"DEL_ONION {OTHER_SERVICE}"))
    assert there == told(talk.say(f"DEL_ONION {address(77)}"))
