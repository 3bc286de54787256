"""What goes over the supervisor's socket: read strictly."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import KINDS, BentoError, HostError
from bento.testnet.messages import (
    Answer,
    Ask,
    BoxStatus,
    Failure,
    Status,
    Step,
    decode_answer,
    decode_ask,
    encode,
)

texts = st.text(max_size=60)
counts = st.integers(0, 1 << 31)
boxes = st.builds(BoxStatus, texts, texts, texts, st.none() | counts, st.none() | counts)
statuses = st.builds(Status, st.booleans(), texts, st.lists(boxes, max_size=3).map(tuple))
answers = st.builds(
    Answer,
    step=st.none() | st.builds(Step, texts, counts, counts),
    status=st.none() | statuses,
    failure=st.none() | st.builds(Failure, texts, texts, texts),
)


@given(answers)
def test_an_answer_comes_back_as_it_was_on_one_line(answer: Answer) -> None:
    line = encode(answer)
    assert line.count(b"\n") == 1
    assert decode_answer(line) == answer


@given(st.binary(max_size=100))
def test_any_bytes_are_a_question_or_refused(line: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode_ask(line), Ask)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_a_named_error(line: bytes) -> None:
    with contextlib.suppress(HostError):
        assert isinstance(decode_answer(line), Answer)


@pytest.mark.parametrize("line", [b'{"do":"up"}', b'{"do":"down","now":1}', b"{}", b"[]"])
def test_an_unknown_question_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_ask(line)


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_error_arrives_as_the_kind_it_was(kind: type[BentoError]) -> None:
    error = Failure.of(kind("detail", "hint")).error()
    assert type(error) is kind
    assert (error.detail, error.hint) == ("detail", "hint")


def test_the_keys_of_a_status_are_those_that_were_promised() -> None:
    status = Status(True, "127.77.0.250:9050", (BoxStatus("box0", "F", "o", 1, None),))
    assert json.loads(msgspec.json.encode(status)) == {
        "ready": True,
        "socks": "127.77.0.250:9050",
        "boxes": [
            {
                "name": "box0",
                "fingerprint": "F",
                "onion": "o",
                "bentod_pid": 1,
                "tor_pid": None,
            }
        ],
    }
