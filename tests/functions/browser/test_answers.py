"""A replayed request is answered by what was recorded for it, or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from bento.functions.browser.answers import Answers
from bento.functions.browser.pack import UNANSWERED, Exchange, Headers

NO_HEADERS: Headers = ()


def response(url: str, body: bytes = b"", **more: object) -> Exchange:
    return Exchange("GET", url, status=200, body=body, **more)  # type: ignore[arg-type]


def get(answers: Answers, url: str) -> bytes | None:
    found = answers.find("GET", url, NO_HEADERS, b"")
    return found.body if found else None


def test_an_address_is_answered_with_its_own_response() -> None:
    answers = Answers([response("http://a.test/1", b"one"), response("http://a.test/2", b"two")])
    assert get(answers, "http://a.test/2") == b"two"
    assert get(answers, "http://a.test/1") == b"one"


@given(st.sampled_from(["http://a.test/", "https://a.test/1", "http://b.test/1", "http://a.test/1?x",
                        "http://a.test:81/1", "http://a.test/1/"]))  # fmt: skip
def test_another_address_is_not_answered(url: str) -> None:
    assert get(Answers([response("http://a.test/1", b"one")]), url) is None


def test_another_method_is_not_answered() -> None:
    answers = Answers([response("http://a.test/1", b"one")])
    assert answers.find("POST", "http://a.test/1", NO_HEADERS, b"") is None


def test_a_repeated_request_gets_the_answers_in_their_order_and_then_the_last() -> None:
    url = "http://a.test/poll"
    answers = Answers([response(url, b"1"), response(url, b"2")])
    assert [get(answers, url) for _ in range(4)] == [b"1", b"2", b"2", b"2"]


def test_a_failure_before_a_success_is_passed_over() -> None:
    url = "http://a.test/font"
    answers = Answers([
        Exchange("GET", url, error="Failed"),
        response(url, b"font"),
        Exchange("GET", url, error=UNANSWERED),
    ])  # fmt: skip
    assert [get(answers, url) for _ in range(3)] == [b"font"] * 3


def test_what_only_failed_fails_again() -> None:
    found = Answers([Exchange("GET", "http://a.test/", error="ConnectionReset")]).find(
        "GET", "http://a.test/", NO_HEADERS, b""
    )
    assert found and found.error == "ConnectionReset"


def test_the_same_address_is_told_apart_by_what_was_sent_to_it() -> None:
    url = "http://a.test/api"
    answers = Answers(
        Exchange("POST", url, request_body=sent, status=200, body=b"to " + sent)
        for sent in (b"a", b"b")
    )
    found = answers.find("POST", url, NO_HEADERS, b"b")
    assert found and found.body == b"to b"
    assert answers.find("POST", url, NO_HEADERS, b"other"), "a body with a clock in it is answered"


def test_parts_of_a_film_are_told_apart_by_their_range() -> None:
    url = "http://a.test/film"
    answers = Answers(
        response(url, r.encode(), request_headers=(("Range", r),)) for r in ("bytes=0-", "bytes=9-")
    )
    found = answers.find("GET", url, (("range", "bytes=9-"),), b"")
    assert found and found.body == b"bytes=9-"


@given(st.integers(10**9, 10**15), st.integers(10**9, 10**15))
def test_a_clock_in_the_query_does_not_matter(then: int, now: int) -> None:
    answers = Answers([response(f"http://a.test/d?q=7&_={then}", b"d")])
    assert get(answers, f"http://a.test/d?q=7&_={now}") == b"d"
    assert get(answers, f"http://a.test/d?q=8&_={now}") is None
