"""The `tor` line of a manifest: read, compared with a policy, written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import PolicyError
from bento.firewall.permissions import PERMISSIONS, Grants
from bento.firewall.rules import COMMANDS, EVENTS, INFO
from bento.firewall.usage import Usage

NUMBERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(1, permission.most) if permission.counts else st.just(0)
        for name, permission in PERMISSIONS.items()
    },
)


@given(NUMBERS)
def test_a_line_reads_back_as_it_was_written(numbers):
    grants = Grants(numbers)
    assert Grants.parse(eval(grants.line().removeprefix("tor = "))) == grants


def test_a_bare_name_means_the_usual_number():
    assert Grants.parse(["circuits", "events"]).numbers == {"circuits": 8, "events": 0}


@pytest.mark.parametrize(
    "item",
    ["", "circuit", "circuits=", "circuits=0", "circuits=65", "circuits=-1", "circuits=1=1"]
    + ["circuits=1 ", " circuits", "events=1", "Circuits", "circuits=²", "streams=99999999999"],
)
def test_a_line_that_makes_no_sense_is_refused_by_name(item):
    with pytest.raises(PolicyError) as error:
        Grants.parse([item])
    assert error.value.hint


def test_a_permission_asked_for_twice_is_refused():
    with pytest.raises(PolicyError):
        Grants.parse(["events", "events"])


def test_what_a_policy_does_not_offer_is_named_item_by_item():
    policy = Grants.parse(["circuits=4", "events"])
    wanted = Grants.parse(["circuits=5", "events", "onion-keys", "streams"])
    assert wanted.beyond(policy) == ("circuits=5", "onion-keys", "streams=32")
    assert policy.beyond(policy) == ()


@given(NUMBERS, NUMBERS)
def test_nothing_is_beyond_a_policy_that_offers_at_least_as_much(wanted, more):
    largest = {name: max(wanted.get(name, 0), more.get(name, 0)) for name in {**wanted, **more}}
    assert Grants(wanted).beyond(Grants(largest)) == ()


def test_every_rule_names_a_permission_that_exists_and_every_permission_has_a_rule():
    named = {
        rule.permission for table in (COMMANDS.values(), EVENTS.values(), INFO) for rule in table
    }
    assert named - {""} | {"onion-keys"} == set(PERMISSIONS)


def test_usage_keeps_the_peak_and_counts_rates_within_a_minute():
    usage = Usage()
    for number in (1, 3, 2):
        usage.level("circuits", number)
    usage.level("events")
    for now in (0.0, 30.0, 59.0, 89.5):
        usage.spend("directory", 10, now)
    assert usage.grants().numbers == {"circuits": 3, "events": 0, "directory": 30}


def test_recorded_usage_never_asks_for_more_than_a_manifest_may():
    usage = Usage()
    usage.level("circuits", 10_000)
    assert usage.grants().number("circuits") == PERMISSIONS["circuits"].most
