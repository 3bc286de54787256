"""One function's filter as a playbook: what goes in, what must come out, in order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.firewall.kit import (
    KEY,
    OTHER_SERVICE,
    OWN_SERVICE,
    RELAYS,
    SECRET_KEY,
    SETTINGS,
    Talk,
    sent,
    settings,
    told,
)

from bento.firewall import Grants, Usage, limits
from bento.firewall.filter import End, FunctionFilter, Hold, ToGuest
from bento.firewall.permissions import PERMISSIONS

PATH = ",".join(RELAYS[:3])


# -- login -------------------------------------------------------------------------------------


def test_protocolinfo_offers_no_cookie_and_authenticate_takes_anything():
    talk = Talk(login=False)
    assert "METHODS=NULL" in told(talk.say("PROTOCOLINFO 1"))
    assert told(talk.say('AUTHENTICATE "secret"')) == "250 OK\r\n"


def test_a_command_before_authenticate_ends_the_connection():
    talk = Talk(login=False)
    outputs = talk.say("GETINFO version", "AUTHENTICATE")
    assert told(outputs) == "514 Authentication required.\r\n"
    assert outputs[-1] == End()


# -- order -------------------------------------------------------------------------------------


def test_pipelined_commands_are_judged_one_after_the_other():
    """The second is only allowed because the first was answered."""
    talk = Talk()
    outputs = talk.say(f"EXTENDCIRCUIT 0 {PATH}", "CLOSECIRCUIT 5", "GETINFO version")
    assert len(sent(outputs)) == 1 and told(outputs) == ""
    outputs = talk.tor("250 EXTENDED 5")
    assert told(outputs) == "250 EXTENDED 5\r\n"
    assert sent(outputs) == ["CLOSECIRCUIT 5"]
    assert told(talk.tor("250 OK")) == "250 OK\r\n250-version=0.4.9.11\r\n250 OK\r\n"


def test_answers_come_in_the_order_of_the_commands():
    talk = Talk()
    assert told(talk.say("GETINFO ns/all", "SIGNAL HALT", "GETINFO version")) == ""
    lines = told(talk.tor("250-ns/all=x", "250 OK")).split("\r\n")
    assert lines[0] == "250-ns/all=x" and lines[1] == "250 OK"
    assert lines[2].startswith("510 ") and lines[3].startswith("250-version")


def test_events_pass_between_a_command_and_its_answer():
    talk = Talk().with_objects()
    talk.command("SETEVENTS CIRC", "250 OK")
    talk.say("GETINFO ns/all")
    assert told(talk.tor("650 CIRC 5 CLOSED")) == "650 CIRC 5 CLOSED\r\n"
    assert told(talk.tor("250-ns/all=", "250 OK")) == "250-ns/all=\r\n250 OK\r\n"


def test_a_function_that_sends_ahead_is_left_unread():
    talk = Talk()
    talk.say("GETINFO ns/all")
    assert talk.filter.wants_guest
    talk.say(*["GETINFO version"] * 2000)
    assert not talk.filter.wants_guest
    outputs = talk.tor("250-ns/all=", "250 OK")
    assert told(outputs).count("250-version") == limits.LINES_BURST - 2


def test_a_fast_function_is_read_more_slowly_and_never_refused():
    talk = Talk()
    first = told(talk.say(*["GETINFO version"] * 800)).count("250-version")
    assert first == limits.LINES_BURST - 1  # one was AUTHENTICATE
    assert talk.filter.wake_at is not None
    talk.now += 1
    assert told(talk.filter.tick(talk.now)).count("250-version") == 800 - first
    assert talk.filter.wake_at is None
    assert talk.filter.refusals.total() == 0


# -- permissions and quotas --------------------------------------------------------------------

NEEDS = [
    (f"EXTENDCIRCUIT 0 {PATH}", "circuits"),
    ("CLOSECIRCUIT 5", "circuits"),
    ("GETINFO circuit-status", "circuits"),
    ("ATTACHSTREAM 11 5", "streams"),
    ("CLOSESTREAM 11 1", "streams"),
    ("GETINFO stream-status", "streams"),
    ("SETCONF __LeaveStreamsUnattached=1", "streams"),
    ("RESETCONF __LeaveStreamsUnattached", "streams"),
    ("ADD_ONION NEW:BEST Port=80", "onion-services"),
    (f"ADD_ONION ED25519-V3:{SECRET_KEY} Port=80", "onion-keys"),
    (f"DEL_ONION {OWN_SERVICE}", "onion-services"),
    ("GETINFO onions/current", "onion-services"),
    (f"HSFETCH {OTHER_SERVICE}", "onion-fetch"),
    ("SETEVENTS HS_DESC_CONTENT", "onion-fetch"),
    (f"+HSPOST HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n.", "onion-publish"),
    ("SETEVENTS CIRC", "events"),
    ("GETINFO ns/all", "directory"),
    (f"GETINFO md/id/{RELAYS[0]}", "directory"),
    ("GETINFO entry-guards", "guards"),
    ("GETINFO bento/manifest-line", "record"),
]


@pytest.mark.parametrize(("line", "permission"), NEEDS)
def test_a_refusal_names_the_manifest_line_that_would_allow_it(line, permission):
    others = [name for name in PERMISSIONS if name != permission]
    outputs = Talk(settings(*others)).say(line)
    assert sent(outputs) == []
    assert f'tor = ["{permission}"]' in told(outputs)


def test_every_permission_is_needed_by_something():
    assert {permission for _, permission in NEEDS} == set(PERMISSIONS)


@pytest.mark.parametrize("line", [line for line, _ in NEEDS])
def test_a_function_without_permissions_reaches_nothing(line):
    bare = Talk(settings("events"))  # a `tor` line with nothing useful in it
    if "SETEVENTS" not in line:
        assert sent(bare.say(line)) == []


def test_the_number_of_open_circuits_is_limited():
    talk = Talk(settings("circuits=1"))
    talk.command(f"EXTENDCIRCUIT 0 {PATH}", "250 EXTENDED 5")
    refused = told(talk.say(f"EXTENDCIRCUIT 0 {PATH}"))
    assert refused.startswith("451 ") and 'tor = ["circuits=2"]' in refused
    talk.tor("650 CIRC 5 CLOSED")
    assert sent(talk.say(f"EXTENDCIRCUIT 0 {PATH}"))


def test_the_rate_of_building_circuits_is_limited():
    talk = Talk(settings("circuits=1"))
    for number in range(2):
        talk.command(f"EXTENDCIRCUIT 0 {PATH}", f"250 EXTENDED {number}")
        talk.tor(f"650 CIRC {number} FAILED")
    assert told(talk.say(f"EXTENDCIRCUIT 0 {PATH}")).startswith("451 ")
    talk.now += 60 / limits.BUILDS_PER_CIRCUIT
    assert sent(talk.say(f"EXTENDCIRCUIT 0 {PATH}"))


def test_a_refused_extension_does_not_change_the_length_of_a_circuit():
    talk = Talk().with_objects()
    five = ",".join(RELAYS[3:8])
    assert told(talk.say(f"EXTENDCIRCUIT 5 {five}")) == ""
    assert told(talk.tor("551 no")) == "551 no\r\n"
    assert sent(talk.say(f"EXTENDCIRCUIT 5 {five}"))


def test_the_number_of_onion_services_is_limited():
    talk = Talk(settings("onion-services=1", "onion-keys")).with_objects_of_service()
    assert told(talk.say("ADD_ONION NEW:BEST Port=80")).startswith("451 ")
    talk.command(f"DEL_ONION {OWN_SERVICE}", "250 OK")
    assert sent(talk.say("ADD_ONION NEW:BEST Port=80"))


@pytest.mark.parametrize(
    ("permission", "line"),
    [
        ("directory", "GETINFO ns/name/relay"),
        ("onion-fetch", f"HSFETCH {OTHER_SERVICE}"),
    ],
)
def test_look_ups_are_counted_by_the_minute(permission, line):
    talk = Talk(settings(f"{permission}=2"))
    for _ in range(2):
        talk.command(line, "250 OK")
    assert f"{permission}=2" in told(talk.say(line))
    talk.now += 30
    assert sent(talk.say(line))


def test_the_whole_directory_costs_more_than_one_relay():
    talk = Talk(settings("directory=61"))
    talk.command("GETINFO ns/all", "250-ns/all=", "250 OK")
    talk.command("GETINFO ns/name/one", "250-ns/name/one=", "250 OK")
    assert told(talk.say("GETINFO ns/name/two")).startswith("451 ")


def test_of_the_guards_only_the_first_usable_ones_are_told_and_nothing_of_their_past():
    talk = Talk(settings("guards"))
    guards = [f"${relay}~name{at}" for at, relay in enumerate(RELAYS[:7])]
    states = ["down 2038-01-01 00:00:00", *["up"] * 2, "unusable 2038-01-01 00:00:00"]
    states += ["never-connected", "up", "up 2038-01-01 00:00:00"]
    lines = [f"{guard} {state}" for guard, state in zip(guards, states, strict=True)]
    said = talk.command(
        "GETINFO entry-guards", "250+entry-guards=", *lines, "$strange up", ".", "250 OK"
    )
    usable = "".join(f"${RELAYS[at]} up\r\n" for at in (1, 2, 4, 5))
    assert said == f"250+entry-guards=\r\n{usable}.\r\n250 OK\r\n"


def test_a_stream_too_many_is_closed_by_the_firewall():
    talk = Talk(settings("streams=1"))
    assert sent(talk.tor(f'650 STREAM 1 NEW 0 a:80 SOCKS_USERNAME="{KEY}"')) == []
    closed = sent(talk.tor(f'650 STREAM 2 NEW 0 a:80 SOCKS_USERNAME="{KEY}.x"'))
    assert closed == ["CLOSESTREAM 2 11"]
    assert told(talk.tor("250 OK")) == ""


# -- answers of tor ----------------------------------------------------------------------------


def test_getinfo_shows_own_circuits_streams_and_services_only():
    talk = Talk().with_objects()
    talk.say("GETINFO circuit-status stream-status onions/current")
    answer = told(
        talk.tor(
            "250+circuit-status=",
            f"5 BUILT ${RELAYS[0]}~a PURPOSE=CONTROLLER BUILD_FLAGS=NEED_CAPACITY",
            f"6 BUILT ${RELAYS[1]}~b PURPOSE=GENERAL",
            f'7 BUILT ${RELAYS[1]}~b SOCKS_USERNAME="{KEY}.me" SOCKS_PASSWORD="p w"',
            f"8 BUILT ${RELAYS[1]}~b PURPOSE=HS_SERVICE_REND REND_QUERY={OWN_SERVICE}",
            f"9 BUILT ${RELAYS[1]}~b PURPOSE=HS_SERVICE_REND REND_QUERY={OTHER_SERVICE}",
            f"10 BUILT ${RELAYS[1]}~b PURPOSE=HS_CLIENT_REND REND_QUERY={OWN_SERVICE}",
            ".",
            "250+stream-status=",
            "11 SUCCEEDED 5 web.test:80",
            "12 SUCCEEDED 6 web.test:80",
            ".",
            "250+onions/current=",
            OWN_SERVICE,
            OTHER_SERVICE,
            ".",
            "250 OK",
        )
    )
    assert answer == (
        "250+circuit-status=\r\n"
        f"5 BUILT ${RELAYS[0]}~a BUILD_FLAGS=NEED_CAPACITY PURPOSE=CONTROLLER\r\n"
        f'7 BUILT ${RELAYS[1]}~b SOCKS_USERNAME="me" SOCKS_PASSWORD="p w"\r\n'
        f"8 BUILT ${RELAYS[1]}~b PURPOSE=HS_SERVICE_REND REND_QUERY={OWN_SERVICE}\r\n"
        ".\r\n"
        "250-stream-status=11 SUCCEEDED 5 web.test:80\r\n"
        f"250-onions/current={OWN_SERVICE}\r\n"
        "250 OK\r\n"
    )


def test_a_key_is_answered_as_it_was_asked():
    talk = Talk()
    asked = f"ns/id/${RELAYS[9].lower()}"
    answer = talk.command(
        f"GETINFO {asked} version", f"250+ns/id/{RELAYS[9]}=", "r x", "..", ".", "250 OK"
    )
    assert answer == f"250+{asked}=\r\nr x\r\n..\r\n.\r\n250-version=0.4.9.11\r\n250 OK\r\n"


def test_the_key_of_a_new_service_is_kept_back_without_the_permission():
    talk = Talk(settings("onion-services"))
    assert "Flags=DiscardPK," in sent(talk.say("ADD_ONION NEW:BEST Port=80"))[0]
    answer = told(
        talk.tor(
            f"250-ServiceID={OWN_SERVICE}", f"250-PrivateKey=ED25519-V3:{SECRET_KEY}", "250 OK"
        )
    )
    assert answer == f"250-ServiceID={OWN_SERVICE}\r\n250 OK\r\n"


def test_only_a_proved_address_can_be_published():
    talk = Talk()
    post = f"+HSPOST HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n."
    assert "513 " in told(talk.say(post))
    talk.command(
        "ADD_ONION NEW:BEST Flags=DiscardPK Port=80", f"250-ServiceID={OWN_SERVICE}", "250 OK"
    )
    assert "513 " in told(talk.say(post))  # the service is its own, the key it never had
    talk.command(f"DEL_ONION {OWN_SERVICE}", "250 OK")
    talk.command(
        f"ADD_ONION ED25519-V3:{SECRET_KEY} Port=80", f"250-ServiceID={OWN_SERVICE}", "250 OK"
    )
    talk.command(f"DEL_ONION {OWN_SERVICE}", "250 OK")
    assert sent(talk.say(post))


def test_each_directory_named_counts_as_a_descriptor_published():
    talk = Talk(settings("onion-services", "onion-keys", "onion-publish=6"))
    talk.command(
        f"ADD_ONION ED25519-V3:{SECRET_KEY} Port=80", f"250-ServiceID={OWN_SERVICE}", "250 OK"
    )
    named = " ".join(f"SERVER={number:040X}" for number in range(1, 6))
    talk.command(f"+HSPOST {named} HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n.", "250 OK")
    post = f"+HSPOST {{}}HSADDRESS={OWN_SERVICE}\r\nhs-descriptor 3\r\n."
    two = f"SERVER={1:040X} SERVER={2:040X} "
    assert "onion-publish" in told(talk.say(post.format(two)))
    assert sent(talk.say(post.format("")))


@pytest.mark.parametrize("answer", ["250 EXTENDED x", "250 OK", "250 EXTENDED"])
def test_an_answer_of_tor_that_cannot_be_read_is_an_error(answer):
    talk = Talk()
    talk.say(f"EXTENDCIRCUIT 0 {PATH}")
    assert told(talk.tor(answer)).startswith("551 ")


def test_a_service_without_an_address_is_an_error():
    assert Talk().command("ADD_ONION NEW:BEST Port=80", "250 OK").startswith("551 ")


def test_a_service_without_a_way_in_is_refused():
    talk = Talk(settings(onion_socket=None))
    assert "no way to it" in told(talk.say("ADD_ONION NEW:BEST Port=80"))
    assert sent(talk.say("ADD_ONION NEW:BEST Port=80,8080"))


@pytest.mark.parametrize("path", ["relative", "/a b", '/a"', "/x\r\nSIGNAL HALT", "/" + "x" * 107])
def test_a_socket_path_that_could_break_a_line_is_never_accepted(path):
    with pytest.raises(ValueError):
        settings(onion_socket=path)


def test_a_circuit_that_tor_built_may_be_closed_but_not_led_elsewhere():
    """It carries what tor put on it; only what the function built is its to extend."""
    talk = Talk().with_objects()
    talk.tor(f'650 CIRC 7 BUILT $A~b SOCKS_USERNAME="{KEY}"')
    talk.tor(f"650 CIRC 8 BUILT $A~b PURPOSE=HS_SERVICE_REND REND_QUERY={OWN_SERVICE}")
    for number in (7, 8):
        assert told(talk.say(f"EXTENDCIRCUIT {number} {RELAYS[5]}")).startswith("552 ")
        assert told(talk.say(f"ATTACHSTREAM 11 {number}")).startswith("552 ")
        assert talk.command(f"CLOSECIRCUIT {number}", "250 OK") == "250 OK\r\n"


def test_what_was_closed_is_gone_before_tor_says_so_again():
    talk = Talk().with_objects()
    talk.command("CLOSESTREAM 11 1", "250 OK")
    talk.command("CLOSECIRCUIT 5 IfUnused", "250 OK")
    talk.command("CLOSECIRCUIT 5", "250 OK")
    for line in ("CLOSESTREAM 11 1", "ATTACHSTREAM 11 0", "CLOSECIRCUIT 5"):
        assert told(talk.say(line)).startswith("552 Unknown ")
    assert talk.filter.leftovers == []


@pytest.mark.parametrize("flag", ["Detach", "NonAnonymous", "BasicAuth"])
def test_a_flag_that_no_manifest_can_allow_is_refused_with_that_reason(flag):
    line = f"ADD_ONION NEW:BEST Flags={flag} Port=80"
    assert "no manifest line allows it" in told(Talk().say(line))


# -- the end -----------------------------------------------------------------------------------


def test_a_function_that_hangs_up_has_its_circuits_and_waiting_streams_closed():
    talk = Talk().with_objects()
    assert Hold(True) in talk.say("SETCONF __LeaveStreamsUnattached=1")
    outputs = talk.filter.guest_gone()
    assert sent(outputs) == ["CLOSESTREAM 11 6", "CLOSECIRCUIT 5"]
    assert Hold(False) in outputs and talk.filter.is_leaving
    assert talk.tor("250 OK") == []
    assert talk.tor("250 OK") == [End()]


def test_a_circuit_in_the_making_is_closed_too():
    talk = Talk()
    talk.say(f"EXTENDCIRCUIT 0 {PATH}")
    assert talk.filter.guest_gone() == []
    assert sent(talk.tor("250 EXTENDED 9")) == ["CLOSECIRCUIT 9"]
    assert talk.tor("250 OK") == [End()]


def test_quit_says_goodbye_and_cleans_up():
    talk = Talk().with_objects()
    outputs = talk.say("QUIT", "GETINFO version")
    assert told(outputs) == "250 closing connection\r\n"
    assert sent(outputs) == ["CLOSECIRCUIT 5"]
    assert talk.tor("250 OK")[-1] == End()


def test_an_oversized_line_is_refused_and_ends_the_connection():
    talk = Talk()
    outputs = talk.say("GETINFO " + "x" * limits.MAX_LINE)
    assert told(outputs).startswith("500 ") and outputs[-1] == End()
    assert talk.say("GETINFO version") == []


@pytest.mark.parametrize("noise", ["nonsense", "250 OK", "650 CIRC 5 BUILT"])
def test_a_tor_that_talks_nonsense_ends_the_connection(noise):
    talk = Talk().with_objects()
    outputs = talk.filter.from_tor(noise.encode() + b"\n", talk.now) or talk.tor("250 OK")
    assert outputs[-1] == End()
    assert talk.filter.leftovers == [5]
    assert talk.tor("250 OK") == [] and talk.filter.tor_gone() == []


def test_a_dead_tor_ends_the_connection():
    assert Talk().filter.tor_gone() == [End()]


def test_refusals_are_counted_by_command_without_arguments():
    talk = Talk()
    talk.say("SIGNAL HALT", "SIGNAL HALT", "SECRETWORD x", "GETINFO address", "\x00")
    assert talk.filter.refusals == {"SIGNAL": 2, "GETINFO": 1, "other": 2}


def test_events_that_nobody_asked_for_are_not_told():
    talk = Talk().with_objects()
    assert talk.tor("650 CIRC 5 CLOSED") == []


def test_an_event_is_marked_so_that_it_may_be_dropped_for_a_sleeper():
    talk = Talk().with_objects()
    talk.command("SETEVENTS CIRC", "250 OK")
    assert talk.tor("650 CIRC 5 CLOSED") == [ToGuest(b"650 CIRC 5 CLOSED\r\n", is_event=True)]


# -- record ------------------------------------------------------------------------------------


def test_the_recorded_line_allows_what_was_done_and_nothing_more():
    talk = Talk().with_objects()
    talk.command("SETEVENTS CIRC", "250 OK")
    for _ in range(3):
        talk.command("GETINFO ns/name/a", "250-ns/name/a=", "250 OK")
    talk.tor(f'650 STREAM 13 NEW 0 a:80 SOCKS_USERNAME="{KEY}"')
    line = talk.filter.usage.grants().line()
    items = '"circuits=1", "streams=2", "onion-services=1", "onion-keys", "events", "directory=3"'
    assert line == f"tor = [{items}]"


def test_a_recorded_function_may_do_everything_and_is_told_the_line_over_all_its_connections():
    usage = Usage()
    recorded = replace(settings(), grants=Grants.parse(["record"]).in_force, usage=usage)
    Talk(recorded).command(f"EXTENDCIRCUIT 0 {PATH}", "250 EXTENDED 5")
    talk = Talk(recorded)
    talk.command("SETEVENTS CIRC", "250 OK")
    assert 'tor = ["circuits=1", "events"]' in told(talk.say("GETINFO bento/manifest-line"))
    assert 'tor = ["circuits=1", "events"]' in told(talk.say("GETINFO bento/manifest-line"))


def test_a_circuit_whose_path_tor_chose_is_taken_out_of_its_use_in_the_next_command():
    talk = Talk(settings("circuits=2"))
    assert sent(talk.say("EXTENDCIRCUIT 0")) == ["EXTENDCIRCUIT 0 purpose=general"]
    outputs = talk.tor("250 EXTENDED 7")
    assert sent(outputs) == ["SETCIRCUITPURPOSE 7 purpose=controller"]
    assert told(outputs) == "250 EXTENDED 7\r\n"
    assert told(talk.tor("250 OK")) == ""
    assert sent(talk.say("CLOSECIRCUIT 7")) == ["CLOSECIRCUIT 7"]


def test_without_a_socket_of_its_own_a_bare_port_is_its_own_target():
    talk = Talk(settings(onion_socket=None, onion_ports={80: "/run/80", 8080: "/run/8080"}))
    assert "Port=80,unix:/run/80" in sent(talk.say("ADD_ONION NEW:BEST Port=80"))[0]


def test_an_idle_filter_wants_nothing_of_tor_but_its_own_two_events():
    machine = FunctionFilter(SETTINGS, 0.0)
    assert sent(machine.start()) == ["SETEVENTS CIRC STREAM"]
    assert machine.usage.grants().line() == "tor = []"
