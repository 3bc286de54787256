"""What a pack may hold: nothing that is unsafe to print, to open or to write into an archive."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.functions.browser.pack import Cut, Exchange, Pack, PackError, plain
from bento.functions.browser.sizes import MIB

PAGE = Pack(
    url="http://a.test/",
    final_url="http://a.test/b",
    title="A title",
    date=1_700_000_000,
    exchanges=(
        Exchange("GET", "http://a.test/", status=301, headers=(("Location", "/b"),)),
        Exchange("GET", "http://a.test/b", status=200, body=b"<p>hello" * 100),
        Exchange("GET", "http://a.test/c", error="Failed"),
    ),
)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "file:///etc/passwd"},
        {"url": "javascript:alert(1)"},
        {"url": "http://a.test/\r\nX: y"},
        {"url": "http://a.test/ b"},
        {"title": "\x1b[2J"},
        {"title": "a\u202eb"},
        {"date": -1},
        {"date": 1 << 40},
        {"cuts": (Cut("x", "y"),) * 65},
        {"picture": bytes(25 * MIB)},
    ],
)
def test_what_is_unsafe_to_print_or_open_is_in_no_pack(change: dict[str, object]) -> None:
    with pytest.raises(PackError):
        replace(PAGE, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET / HTTP/1.1\r\n"},
        {"url": "ftp://a.test/"},
        {"headers": (("Name", "a\r\nWARC-Type: response"),)},
        {"headers": (("Na me", "a"),)},
        {"headers": (("Na:me", "a"),)},
        {"request_headers": (("", "a"),)},
        {"headers": (("A", "b"),) * 129},
        {"status": 99},
        {"status": 1000},
        {"reason": "OK\r\nX: y"},
        {"error": "Failed"},
        {"cut": "Not A Word"},
    ],
)
def test_what_could_break_out_of_a_record_is_in_no_exchange(change: dict[str, object]) -> None:
    with pytest.raises(PackError):
        replace(Exchange("GET", "http://a.test/", status=200), **change)  # type: ignore[arg-type]


def test_an_error_is_of_a_known_kind() -> None:
    with pytest.raises(PackError):
        Exchange("GET", "http://a.test/", error="Whatever")


@given(st.text())
def test_plain_makes_any_text_printable(text: str) -> None:
    kept = plain(text)
    assert Pack(url="http://a.test/", title=kept).title == kept
    assert plain(kept) == kept


def test_the_status_is_the_last_pages() -> None:
    assert PAGE.status == 200
    assert replace(PAGE, final_url="http://a.test/b#part").status == 200
    assert replace(PAGE, final_url="http://nowhere.test/").status == 0
    assert PAGE.weight == 800
