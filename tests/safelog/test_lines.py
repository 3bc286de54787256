"""A log line: an event of the table, coarse numbers, whole minutes; nothing else can be written."""

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.safelog import Event, Fault, Library, Log
from bento.safelog.events import coarse

NOON = 1_800_014_400.0


class Recorder:
    def __init__(self):
        self.lines = []
        self.now = NOON
        self.log = Log(self.lines.append, lambda: self.now)


@pytest.fixture
def recorder():
    return Recorder()


def test_a_line_has_the_minute_in_utc_the_level_and_the_sentence(recorder):
    recorder.now += 59.9
    recorder.log.note(Event.OPEN)
    assert recorder.lines == ["2027-01-15 12:00 info the box is open"]


def test_counts_are_rounded_up_to_powers_of_two(recorder):
    recorder.log.note(Event.LEFTOVERS_ENDED, count=3)
    assert recorder.lines[0].endswith("ended <=4 sandboxes that an earlier bentod left")


@given(st.integers(0, 1 << 40))
def test_a_rounded_count_is_never_too_small_and_less_than_twice_as_large(count):
    assert count <= coarse(count) < 2 * max(count, 1)


def test_an_error_is_told_by_its_class_and_our_line_never_by_its_text(recorder):
    from bento.protocol.manifest import read_size

    with pytest.raises(ValueError) as caught:
        read_size("visit example.com")
    recorder.log.note(Event.FAULT, fault=Fault.of(caught.value))
    assert "example" not in recorder.lines[0]
    assert " ValueError at protocol/manifest.py:" in recorder.lines[0]


def test_an_error_from_elsewhere_names_no_file():
    try:
        int("example.com")
    except ValueError as error:
        assert Fault.of(error) == Fault("ValueError", "outside of bento")


class Foreign(enum.StrEnum):
    HOST = "example.com"


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (Event.OPEN, {"who": 1}),
        (Event.LEFTOVERS_ENDED, {}),
        (Event.LEFTOVERS_ENDED, {"count": "example.com"}),
        (Event.LEFTOVERS_ENDED, {"count": True}),
        (Event.FAULT, {"fault": ValueError("example.com")}),
        (Event.LIBRARY, {"library": "example.com"}),
        (Event.LIBRARY, {"library": Foreign.HOST}),
    ],
)
def test_nothing_but_an_events_own_fields_is_taken(recorder, event, fields):
    with pytest.raises(TypeError):
        recorder.log.note(event, **fields)
    assert recorder.lines == []


@pytest.mark.parametrize("event", Event)
def test_no_event_has_a_field_of_text(event):
    for kind in event.value.fields.values():
        assert kind in (int, Fault) or kind.__module__ == "bento.safelog.events"
        assert not issubclass(kind, str)


@pytest.mark.parametrize("event", Event)
def test_every_event_can_be_written(recorder, event):
    samples = {int: 1, Fault: Fault("OSError", "box/door.py:1"), Library: Library.ASYNCIO}
    values = {
        name: samples.get(kind) or next(iter(kind)) for name, kind in event.value.fields.items()
    }
    recorder.log.note(event, **values)
    assert len(recorder.lines) == 1


def test_a_repeated_event_is_one_line_a_minute_and_a_rounded_count(recorder):
    for _ in range(1000):
        recorder.log.note(Event.TOR_LOST)
    recorder.now += 60
    recorder.log.note(Event.TOR_BACK)
    lost, repeats, back = recorder.lines
    assert lost == "2027-01-15 12:00 warning the relay's tor went away; waiting for it"
    assert repeats == f"{lost} (<=1024 times in that minute)"
    assert back == "2027-01-15 12:01 warning the relay's tor is back"
