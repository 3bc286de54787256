"""A page is taken for still only if nothing in it could ask for more: scripts, frames, lazy parts."""

import pytest

from bento.functions.browser.pack import UNANSWERED, Exchange
from bento.functions.browser.stillness import is_still

HTML, CSS, PNG = "text/html; charset=utf-8", "text/css", "image/png"


def got(kind: str, body: bytes, *more: tuple[str, str], status: int = 200) -> Exchange:
    return Exchange(
        "GET",
        "http://a.test/",
        status=status,
        headers=(("Content-Type", kind), *more) if kind else more,
        body=body,
    )


PAGE = got(
    HTML, b"<!doctype html><link rel=stylesheet href=s><img src=p>One = content=2, come on=x"
)


def test_text_pictures_and_fonts_are_still() -> None:
    parts = [
        got(CSS, b"p { background: url(far.png) }"),
        got(PNG, b"\x89PNG\0\0<script>"),
        got("font/woff2", b"\0\0"),
        got("", b"", ("Location", "/there"), status=302),
        got(HTML, b"<h1>no such icon</h1>", status=404),
        Exchange("GET", "http://a.test/gone.png", error="ConnectionRefused"),
    ]
    assert is_still([PAGE, *parts])


@pytest.mark.parametrize(
    "body",
    [b"<script>1</script>", b"<SCRIPT src=a>", b"<svg:script>", b"<body onload=go()>", b"<a href='java"
     b"script:go()'>", b"<p\nonmouseover = 'x'>", b"<img loading=lazy src=x>", b"<IMG LOADING = 'lazy'>",
     b"<iframe src=x>", b"<frame src=x>", b"<object data=x>", b"<embed src=x>", b"<video src=x>",
     b"<audio src=x>", b"<svg><set attributeName=href to=x>", b"<animate attributeName=href>",
     b"<meta http-equiv=refresh content='1;url=/b'>", b'<meta http-equiv="Refresh">',
     b"<p style='content-visibility: auto'>", b"<style>@keyframes k { to { background: url(x) } }",
     b"<link rel=prefetch href=x>", b"<?xml-stylesheet href=x?>", "<script>".encode("utf-16")],
)  # fmt: skip
def test_whatever_may_ask_for_more_is_not(body: bytes) -> None:
    assert not is_still([PAGE, got(HTML, body)])
    assert not is_still([got("", body)]), "nor if it does not say what it is"


@pytest.mark.parametrize(
    "exchange",
    [
        got("text/javascript", b"1"),
        got("application/json", b"{}"),
        got("video/mp4", b"x"),
        got("text/event-stream", b"data:"),
        got("application/octet-stream", b"x"),
        got(HTML, b"<p>", ("Refresh", "1; url=/b")),
        got(CSS, b"p { content-visibility: auto }"),
        got("image/svg+xml", b"<svg><script>1</script></svg>"),
        Exchange("POST", "http://a.test/", status=204),
        Exchange("GET", "http://a.test/", error=UNANSWERED),
        Exchange("GET", "http://a.test/", status=200, body=b"x", cut="response_seconds"),
    ],
)
def test_what_only_something_alive_asks_for_makes_a_page_alive(exchange: Exchange) -> None:
    assert not is_still([PAGE, exchange])
