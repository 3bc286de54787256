"""What is sensitive does not show, however it is asked for."""

import copy
import json
import pickle
import traceback

import pytest

from bento.safelog import Sensitive

HIDDEN = Sensitive("blue-heron")


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        "{!r:s}".format,
        "%s".__mod__,
        lambda value: repr([value, {"key": value}, (value,)]),
        lambda value: str(ValueError("bad value", value)),
        lambda value: "".join(traceback.format_exception(KeyError(value))),
    ],
)
def test_no_form_of_it_shows_the_value(show):
    assert "blue-heron" not in show(HIDDEN)


def test_a_traceback_with_local_variables_does_not_show_it():
    def fails(secret):
        raise ValueError("no")

    try:
        fails(HIDDEN)
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert "blue-heron" not in "".join(shown.format())


@pytest.mark.parametrize(
    "keep", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars, bytes, iter]
)
def test_it_is_not_copied_pickled_or_taken_apart(keep):
    with pytest.raises(TypeError):
        keep(HIDDEN)


def test_only_reveal_gives_it_back():
    assert HIDDEN.reveal() == "blue-heron"


def test_two_are_equal_if_what_they_wrap_is():
    assert Sensitive(b"token") == Sensitive(b"token") != Sensitive(b"other")
    assert Sensitive("x") != "x"
    assert len({Sensitive("x"), Sensitive("x")}) == 1
