"""P10: what the Stem firewall costs, in microseconds of CPU for each line that passes it.

The lines are those of a stem program at work: commands both forwarded and refused, answers of
tor, own events and three times as many of others. Reference: stem 1.8 itself, reading the same
answers and events in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import stem.response

from benchmarks.figures import Figure, median
from bento.firewall import Grants, Settings, new_isolation_key
from bento.firewall.filter import FunctionFilter

LIMIT = 50.0  # us a line
ROUNDS = 300
RELAYS = [f"{number:040X}" for number in range(1, 4)]
PATH = ",".join("$" + relay for relay in RELAYS)
NAMED = ",".join(f"${relay}~relay{at}" for at, relay in enumerate(RELAYS))
ONION = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid"
FLAGS = "BUILD_FLAGS=IS_INTERNAL,NEED_CAPACITY TIME_CREATED=2026-01-01T00:00:00.000000"
ISO = "CLIENT_PROTOCOL=SOCKS5 NYM_EPOCH=0 SESSION_GROUP=-4 ISO_FIELDS=SOCKS_USERNAME,CLIENTADDR"


def steps(key: str, at: int) -> list[tuple[str, str]]:
    """(what the function says, what tor says) in turn, for one round of a program's life."""
    own, other = at * 10, at * 10 + 1
    status = [f"r relay AAAA BBBB 2026-01-01 00:00:00 127.0.0.1 9001 {n}" for n in range(6)]
    events = [
        f"650 CIRC {own} {state} {NAMED} {FLAGS} PURPOSE=CONTROLLER"
        for state in ("LAUNCHED", "EXTENDED", "EXTENDED", "BUILT")
    ]
    others = [line.replace(f"CIRC {own} ", f"CIRC {other} ") for line in events * 3]
    stream = f'650 STREAM {own} NEW 0 web.test:80 PURPOSE=USER SOCKS_USERNAME="{key}" {ISO}'
    return [
        ("GETINFO version", ""),
        (
            f"GETINFO ns/id/{RELAYS[0]}",
            "\r\n".join([f"250+ns/id/{RELAYS[0]}=", *status, ".", "250 OK", ""]),
        ),
        (f"EXTENDCIRCUIT 0 {PATH} purpose=general", f"250 EXTENDED {own}\r\n"),
        ("", "".join(line + "\r\n" for line in (*events, *others, stream))),
        (f"ATTACHSTREAM {own} {own}", "250 OK\r\n"),
        (
            "",
            f"650 STREAM {own} SUCCEEDED {own} web.test:80\r\n650 STREAM {own} CLOSED {own} a:1\r\n",
        ),
        ("ADD_ONION NEW:BEST Port=80,127.0.0.1:8080", f"250-ServiceID={ONION}\r\n250 OK\r\n"),
        ("", f"650 HS_DESC UPLOAD {ONION} UNKNOWN ${RELAYS[0]}~relay0 abc HSDIR_INDEX=00\r\n"),
        (f"DEL_ONION {ONION}", "250 OK\r\n"),
        ("SIGNAL NEWNYM", ""),
        (f"CLOSECIRCUIT {own}", "250 OK\r\n"),
        ("", f"650 CIRC {own} CLOSED {NAMED} {FLAGS} REASON=REQUESTED\r\n"),
    ]


def firewall() -> float:
    """us of this process for each line, median over the rounds."""
    key = new_isolation_key()
    settings = Settings(isolation_key=key, grants=Grants.everything(), onion_socket="/run/onion")
    machine = FunctionFilter(settings, 0.0)
    machine.start()
    machine.from_tor(b"250 OK\r\n", 0.0)
    machine.from_guest(b"AUTHENTICATE\r\nSETEVENTS CIRC STREAM HS_DESC\r\n", 0.0)
    machine.from_tor(b"250 OK\r\n", 0.0)
    costs = []
    for at in range(1, ROUNDS + 1):
        now = at * 60.0
        turn = [(says.encode(), tor.encode()) for says, tor in steps(key, at)]
        lines = sum(bool(says) + tor.count(b"\n") for says, tor in turn)
        begin = time.process_time_ns()
        for says, tor in turn:
            if says:
                machine.from_guest(says + b"\r\n", now)
            if tor:
                machine.from_tor(tor, now)
        costs.append((time.process_time_ns() - begin) / 1000 / lines)
    assert machine.refusals == {"SIGNAL": ROUNDS}
    return median(costs)


def stem_reads() -> float:
    """us for each line when stem reads what tor says."""
    messages = []
    for _, tor in steps("k" * 32, 1):
        for line in tor.splitlines():
            if line.startswith(("650 ", "250 OK", "250 EXTENDED")):
                messages.append(line + "\r\n")
    costs = []
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        for text in messages:
            message = stem.response.ControlMessage.from_str(text)
            kind = "EVENT" if text.startswith("650") else "SINGLELINE"
            stem.response.convert(kind, message)
        costs.append((time.process_time_ns() - begin) / 1000 / len(messages))
    return median(costs)


def measure() -> Iterator[Figure]:
    what = "CPU a control-port line costs in the firewall; reference: stem only reading it"
    yield Figure("P10", firewall(), "us", stem_reads(), 1.0, limit=LIMIT, what=what)
