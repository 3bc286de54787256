"""What other rooms may use."""

from __future__ import annotations

import inspect

import bento.tor


def test_the_public_names_are_these():
    assert bento.tor.__all__ == [
        "Announcement",
        "Circuit",
        "CircuitManager",
        "CommandRefused",
        "Controller",
        "Event",
        "ExitPolicy",
        "Line",
        "OnionKey",
        "OnionService",
        "RelayEntry",
        "Reply",
        "ReplyParser",
        "Subscription",
        "TorProcess",
        "add_onion",
        "decode_address",
        "discover",
        "encode_address",
        "encode_command",
        "open_stream",
        "parse_arguments",
        "quote",
        "unquote",
    ]


def test_every_public_name_is_there_and_says_what_it_is():
    for name in bento.tor.__all__:
        assert inspect.getdoc(getattr(bento.tor, name))
