"""The pipe to Chromium: messages find whom they belong to; nonsense gives the declared error."""

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento.functions.browser import cdp
from bento.functions.browser.cdp import CdpError, ChromiumGoneError, Connection, Fields


class Chromium:
    """The other end of the pipe."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        reader, self.writer = os.pipe()
        self.connection = Connection(reader, writer)

    def say(self, *messages: object) -> None:
        os.write(self.writer, b"".join(json.dumps(m).encode() + b"\0" for m in messages))

    def heard(self) -> list[dict[str, object]]:
        return [json.loads(m) for m in os.read(self.reader, 1 << 20).split(b"\0") if m]

    def close(self) -> None:
        self.connection.close()
        for fd in (self.reader, self.writer):
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.fixture
def chromium() -> Iterator[Chromium]:
    other = Chromium()
    yield other
    other.close()


def test_a_command_gets_its_own_answer_whatever_comes_between(chromium: Chromium) -> None:
    events: list[str] = []
    chromium.connection.on("Page.loaded", lambda e: events.append(e.text("name")), "S")
    chromium.connection.on("Page.loaded", lambda _: events.append("wrong session"))
    chromium.say(
        {"method": "Page.loaded", "params": {"name": "x"}, "sessionId": "S"},
        {"method": "Unknown.event", "params": {}},
        {"id": 99, "result": {"value": "somebody else's"}},
        {"id": 1, "result": {"value": "mine"}},
    )
    assert chromium.connection.call("A.b", {"c": 1}, session="S").text("value") == "mine"
    assert events == ["x"]
    assert chromium.heard() == [{"id": 1, "method": "A.b", "params": {"c": 1}, "sessionId": "S"}]


def test_a_refusal_is_an_error_that_names_the_command(chromium: Chromium) -> None:
    chromium.say({"id": 1, "error": {"message": "no such thing"}})
    with pytest.raises(CdpError, match=r"A\.b: no such thing"):
        chromium.connection.call("A.b")


def test_answers_and_refusals_are_handed_on(chromium: Chromium) -> None:
    heard: list[str] = []
    for _ in range(2):
        chromium.connection.send(
            "A.b", then=lambda f: heard.append(f.text("v")), refused=heard.append
        )
    chromium.say({"id": 2, "error": {"message": "no"}}, {"id": 1, "result": {"v": "yes"}})
    chromium.connection.pump(1)
    assert heard == ["no", "yes"]


def test_no_answer_is_an_error_after_the_time_out(chromium: Chromium) -> None:
    with pytest.raises(CdpError, match=r"A\.b within 0.05 s"):
        chromium.connection.call("A.b", timeout=0.05)


def test_a_closed_pipe_is_named(chromium: Chromium) -> None:
    os.close(chromium.writer)
    with pytest.raises(ChromiumGoneError):
        chromium.connection.call("A.b")


def test_writing_to_a_closed_pipe_is_named(chromium: Chromium) -> None:
    os.close(chromium.reader)
    with pytest.raises(ChromiumGoneError):
        chromium.connection.send("A.b")


def test_large_messages_cross_in_both_directions_at_once(chromium: Chromium) -> None:
    """Far more than a pipe holds: whoever only wrote would wait for ever."""
    big = "x" * (4 << 20)

    def other_side() -> None:
        os.write(chromium.writer, json.dumps({"method": "E", "params": {"v": big}}).encode())
        os.write(chromium.writer, b"\0")
        left = len(big)
        while left > 0:
            left -= len(os.read(chromium.reader, 1 << 20))
        chromium.say({"id": 1, "result": {"v": "done"}})

    seen: list[int] = []
    chromium.connection.on("E", lambda e: seen.append(len(e.text("v"))))
    thread = threading.Thread(target=other_side)
    thread.start()
    assert chromium.connection.call("A.b", {"v": big}).text("v") == "done"
    thread.join()
    assert seen == [len(big)]


@pytest.mark.parametrize(
    "nonsense",
    [b"not json\0", b"[1]\0", b'"x"\0', b"[" * 100_000 + b"\0", b'{"id": "1"}\0',
     b'{"method": 1}\0', b'{"method": "E", "params": []}\0', b"\xff\xfe\0"],
)  # fmt: skip
def test_nonsense_is_the_declared_error(chromium: Chromium, nonsense: bytes) -> None:
    chromium.connection.on("E", lambda _: None)
    threading.Thread(target=os.write, args=(chromium.writer, nonsense)).start()
    with pytest.raises(CdpError):
        for _ in range(20):
            chromium.connection.pump(1)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_the_declared_error(noise: bytes) -> None:
    chromium = Chromium()
    try:
        os.write(chromium.writer, noise + b"\0")
        chromium.connection.pump(1)
    except CdpError:
        pass
    finally:
        chromium.close()


def test_a_message_without_an_end_is_refused(
    chromium: Chromium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE_BYTES", 10_000)
    os.write(chromium.writer, b"x" * 20_000)
    with pytest.raises(CdpError, match="too large"):
        chromium.connection.pump(1)


def test_pump_waits_no_longer_than_it_may(chromium: Chromium) -> None:
    started = time.monotonic()
    chromium.connection.pump(0.1)
    assert time.monotonic() - started >= 0.09


def test_fields_have_the_types_that_are_asked_for() -> None:
    fields = Fields(
        {"t": "x", "b": "AP8=", "n": 1.5, "f": True, "o": {"t": "y"}, "l": [{"t": "z"}]}
    )
    assert (fields.text("t"), fields.number("n"), fields.flag("f")) == ("x", 1.5, True)
    assert fields.fields("o").text("t") == "y"
    assert [item.text("t") for item in fields.each("l")] == ["z"]
    assert (fields.text("-"), fields.number("-"), fields.flag("-")) == ("", 0, False)
    assert fields.binary("b") == b"\0\xff"
    assert "t" in fields and "-" not in fields
    assert fields.texts() == {"t": "x", "b": "AP8="}
    for wrong in (lambda: fields.text("n"),
        lambda: fields.binary("t"), lambda: fields.number("t"), lambda: fields.fields("l"),
                  lambda: fields.each("o")):  # fmt: skip
        with pytest.raises(CdpError):
            wrong()
