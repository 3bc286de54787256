# ruff: noqa: E501
"""What of tor's events a function sees: its own objects, in listed fields, rebuilt."""

from __future__ import annotations

import pytest
from tests.firewall.kit import KEY, OTHER_SERVICE, OWN_SERVICE, RELAYS, STRANGER, Talk, told

from bento.firewall.limits import FETCH_WINDOW

EVERYTHING = "SETEVENTS CIRC CIRC_MINOR CIRC_BW STREAM STREAM_BW HS_DESC HS_DESC_CONTENT"
HOP = f"${RELAYS[0]}~a"


@pytest.fixture
def talk() -> Talk:
    talk = Talk().with_objects()
    talk.command(EVERYTHING, "250 OK")
    return talk


OWN = [
    (f"CIRC 5 CLOSED {HOP} PURPOSE=CONTROLLER REASON=FINISHED", None),
    (f"CIRC_MINOR 5 PURPOSE_CHANGED {HOP} PURPOSE=GENERAL OLD_PURPOSE=CONTROLLER", None),
    (f'CIRC 7 BUILT {HOP} SOCKS_USERNAME="{KEY}"', f"CIRC 7 BUILT {HOP}"),
    (f'CIRC 7 BUILT {HOP} SOCKS_USERNAME="{KEY}.a"', f'CIRC 7 BUILT {HOP} SOCKS_USERNAME="a"'),
    (f"CIRC 8 BUILT PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY={OWN_SERVICE}", None),
    ("CIRC_BW ID=5 READ=509 WRITTEN=0 CWND=124 RTT=5", None),
    ("STREAM 11 SENTCONNECT 5 web.test:80 PURPOSE=USER", None),
    ("STREAM 11 SUCCEEDED 99 web.test:80", "STREAM 11 SUCCEEDED 0 web.test:80"),
    (f'STREAM 13 NEW 0 a:80 SOURCE_ADDR=127.0.0.1:999 SOCKS_USERNAME="{KEY}.x" NYM_EPOCH=4 SESSION_GROUP=-4 CLIENT_PROTOCOL=SOCKS5', 'STREAM 13 NEW 0 a:80 SOCKS_USERNAME="x" CLIENT_PROTOCOL=SOCKS5'),
    ("STREAM_BW 11 100 200 2026-01-01T00:00:00.000000", None),
    (f"HS_DESC UPLOAD {OWN_SERVICE} UNKNOWN {HOP} abc REPLICA=0 HSDIR_INDEX=F0", None),
    (f"HS_DESC FAILED {OWN_SERVICE} UNKNOWN {HOP} REASON=UPLOAD_REJECTED", None),
]  # fmt: skip

OTHERS = [
    f"CIRC 6 CLOSED {HOP}",
    f"CIRC 60 LAUNCHED {HOP} PURPOSE=GENERAL",
    f'CIRC 60 BUILT {HOP} SOCKS_USERNAME="{STRANGER}"',
    f'CIRC 60 BUILT {HOP} SOCKS_USERNAME="{KEY}x"',
    f'CIRC 60 BUILT {HOP} SOCKS_PASSWORD="{KEY}"',
    f"CIRC 60 BUILT {HOP} PURPOSE=HS_SERVICE_REND REND_QUERY={OTHER_SERVICE}",
    f"CIRC 60 BUILT {HOP} PURPOSE=HS_CLIENT_REND REND_QUERY={OWN_SERVICE}",
    f"CIRC_MINOR 6 CANNIBALIZED {HOP}",
    "CIRC_BW ID=6 READ=1",
    "CIRC_BW READ=1",
    "STREAM 12 SUCCEEDED 6 a:80",
    "STREAM 70 NEW 0 a:80",
    f'STREAM 70 NEW 0 a:80 SOCKS_USERNAME="{STRANGER}"',
    f'STREAM 70 NEW 0 SOCKS_USERNAME="{KEY}"',
    "STREAM 70 NEW x a:80",
    "STREAM_BW 12 1 1",
    f"HS_DESC UPLOADED {OTHER_SERVICE} UNKNOWN {HOP}",
    f"HS_DESC REQUESTED {OTHER_SERVICE} NO_AUTH {HOP}",
    f"HS_DESC REQUESTED {OWN_SERVICE} NO_AUTH {HOP}",
    f"HS_DESC RECEIVED {OWN_SERVICE} NO_AUTH {HOP}",
    f"HS_DESC FAILED {OWN_SERVICE} NO_AUTH {HOP} REASON=NOT_FOUND",
    f"HS_DESC UPLOADED UNKNOWN UNKNOWN {HOP}",
    "BW 1 2",
    "SIGNAL NEWNYM",
    "ORCONN 1.2.3.4:9001 CONNECTED",
    "NOTICE a log line with CIRC 5 BUILT in it",
    "CIRC 5",
    "CIRC",
    "CIRC five BUILT",
    f'CIRC 5 "BUILT {HOP}"',
]


@pytest.mark.parametrize(("event", "seen"), OWN)
def test_own_events_pass_rebuilt(talk, event, seen):
    assert told(talk.tor("650 " + event)) == f"650 {seen or event}\r\n"


@pytest.mark.parametrize("event", OTHERS)
def test_no_other_event_leaves_a_trace(talk, event):
    assert talk.tor("650 " + event) == []


def test_conf_changed_is_promised_and_never_comes(talk):
    talk.command("SETEVENTS CONF_CHANGED SIGNAL", "250 OK")
    assert talk.tor("650-CONF_CHANGED", "650-SocksPort=1", "650 OK") == []


def test_a_stream_is_own_from_its_first_event_to_its_last(talk):
    assert told(talk.tor("650 STREAM 11 CLOSED 5 a:80 REASON=DONE"))
    assert talk.tor("650 STREAM 11 NEW 0 a:80") == []


def test_a_closed_circuit_is_no_longer_own(talk):
    assert told(talk.tor("650 CIRC 5 CLOSED"))
    assert talk.tor("650 CIRC 5 BUILT") == []


def test_a_fetched_descriptor_is_the_functions_business_until_it_came(talk):
    requested = f"650 HS_DESC REQUESTED {OTHER_SERVICE} NO_AUTH {HOP}"
    content = (f"650+HS_DESC_CONTENT {OTHER_SERVICE} abc {HOP}", "hs-descriptor 3", ".", "650 OK")
    assert talk.tor(*content) == []
    talk.command(f"HSFETCH {OTHER_SERVICE}", "250 OK")
    assert told(talk.tor(requested)) == requested + "\r\n"
    assert told(talk.tor(*content)) == "\r\n".join(content) + "\r\n"
    assert talk.tor(requested) == []


def test_a_fetch_that_never_ends_stops_being_the_functions_business(talk):
    talk.command(f"HSFETCH {OTHER_SERVICE}", "250 OK")
    talk.now += FETCH_WINDOW
    assert talk.tor(f"650 HS_DESC RECEIVED {OTHER_SERVICE} NO_AUTH {HOP}") == []


def test_values_that_could_break_a_line_are_left_out(talk):
    odd = f'650 STREAM 14 NEW 0 a:80 SOCKS_USERNAME="{KEY}" SOCKS_PASSWORD="a\\"b\\r\\n\\377"'
    assert told(talk.tor(odd)) == "650 STREAM 14 NEW 0 a:80\r\n"
    quoted = f'650 STREAM 15 NEW 0 a:80 SOCKS_USERNAME="{KEY}" SOCKS_PASSWORD="a\\"b\\r\\n"'
    assert told(talk.tor(quoted)) == '650 STREAM 15 NEW 0 a:80 SOCKS_PASSWORD="a\\"b\\r\\n"\r\n'
