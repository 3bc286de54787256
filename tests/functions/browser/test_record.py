"""The recorder, played without a browser: events in, commands out."""

import base64
from collections.abc import Mapping
from dataclasses import replace

import pytest

from bento.functions.browser.cdp import Fields, Handler, Refused, ignore
from bento.functions.browser.limits import LIMITS, Limits
from bento.functions.browser.pack import UNANSWERED
from bento.functions.browser.record import FLUSH_SECONDS, Recorder

PAGE = "page-frame"


class Chromium:
    """Stands in for the pipe: keeps what was sent, answers what a test tells it to."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now = 100.0
        self.sent: list[tuple[str, Mapping[str, object], Handler, Refused]] = []
        self.recorder = Recorder(self.send, limits, PAGE, lambda: self.now)

    def send(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        then: Handler = ignore,
        refused: Refused = ignore,
    ) -> None:
        self.sent.append((method, params or {}, then, refused))

    def told(self) -> list[str]:
        """The commands since the last look."""
        names = [f"{m} {p.get('requestId', p.get('handle', ''))}" for m, p, _, _ in self.sent]
        self.sent.clear()
        return names

    def ask(
        self, name: str, url: str = "", kind: str = "XHR", frame: str = PAGE, **more: object
    ) -> None:
        request = {"method": "GET", "url": url or f"http://a.test/{name}", "headers": {}, **more}
        self.recorder.paused(Fields({
            "requestId": name, "networkId": f"n-{name}", "resourceType": kind, "frameId": frame,
            "request": request,
        }))  # fmt: skip

    def respond(
        self, name: str, status: int = 200, kind: str = "XHR", frame: str = PAGE, error: str = "",
        **headers: str,
    ) -> None:  # fmt: skip
        event: dict[str, object] = {
            "requestId": name, "resourceType": kind, "frameId": frame,
            "request": {"method": "GET", "url": f"http://a.test/{name}"},
        }  # fmt: skip
        if error:
            event["responseErrorReason"] = error
        else:
            event["responseStatusCode"] = status
            event["responseStatusText"] = "Fine"
            event["responseHeaders"] = [
                {"name": n.replace("_", "-"), "value": v} for n, v in headers.items()
            ]
        self.recorder.paused(Fields(event))

    def answer(self, method: str, **result: object) -> None:
        """Answers the last command of that name."""
        then = next(t for m, _, t, _ in reversed(self.sent) if m == method)
        then(Fields(result))

    def refuse(self, method: str) -> None:
        refused = next(r for m, _, _, r in reversed(self.sent) if m == method)
        refused("Invalid InterceptionId.")

    def open_body(self, name: str, kind: str = "XHR") -> None:
        self.answer("Fetch.takeResponseBodyAsStream", stream=f"s-{name}")

    def piece(self, data: bytes, *, eof: bool = False) -> None:
        encoded = base64.b64encode(data).decode()
        self.answer("IO.read", data=encoded, base64Encoded=True, eof=eof)

    def whole(self, name: str, body: bytes = b"body", **headers: str) -> None:
        """A request, its response and all of its body."""
        self.ask(name)
        self.respond(name, **headers)
        self.open_body(name)
        self.piece(body, eof=True)

    def bodies(self) -> dict[str, bytes]:
        return {e.url.rpartition("/")[2]: e.body for e in self.recorder.exchanges()}

    def handed_over(self) -> bytes:
        params = next(p for m, p, _, _ in reversed(self.sent) if m == "Fetch.fulfillRequest")
        return base64.b64decode(str(params["body"]))


@pytest.fixture
def chromium() -> Chromium:
    return Chromium()


def test_a_response_goes_from_the_first_pause_to_the_page(chromium: Chromium) -> None:
    chromium.ask("x")
    assert chromium.told() == ["Fetch.continueRequest x"]
    chromium.respond("x")
    chromium.open_body("x")
    chromium.piece(b"one ")
    chromium.piece(b"two", eof=True)
    handed = chromium.handed_over()
    assert chromium.told() == [
        "Fetch.takeResponseBodyAsStream x", "IO.read s-x", "IO.read s-x", "IO.close s-x",
        "Fetch.fulfillRequest x",
    ]  # fmt: skip
    (exchange,) = chromium.recorder.exchanges()
    assert exchange.body == b"one two" == handed
    assert (exchange.status, exchange.reason, exchange.cut) == (200, "Fine", "")


def test_an_answer_that_chromium_will_not_take_is_refused(chromium: Chromium) -> None:
    chromium.whole("x")
    chromium.refuse("Fetch.fulfillRequest")
    assert chromium.told()[-1] == "Fetch.failRequest x"


def test_codings_that_are_undone_are_not_announced_to_the_page_but_kept(chromium: Chromium) -> None:
    chromium.whole("x", Content_Encoding="gzip", Content_Length="9", Content_Type="text/css")
    params = next(p for m, p, _, _ in chromium.sent if m == "Fetch.fulfillRequest")
    assert params["responseHeaders"] == [{"name": "Content-Type", "value": "text/css"}]
    assert len(chromium.recorder.exchanges()[0].headers) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_by_the_browser(chromium: Chromium, status: int) -> None:
    chromium.ask("x")
    chromium.respond("x", status, Location="/y")
    assert chromium.told() == ["Fetch.continueRequest x"] * 2
    assert chromium.recorder.exchanges()[0].headers == (("Location", "/y"),)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_response_without_a_body_has_none_to_read(chromium: Chromium, status: int) -> None:
    chromium.ask("x")
    chromium.respond("x", status)
    assert chromium.told() == ["Fetch.continueRequest x"] * 2


def test_exchanges_stand_in_the_order_of_asking(chromium: Chromium) -> None:
    chromium.ask("first")
    chromium.whole("second")
    chromium.respond("first", 204)
    assert list(chromium.bodies()) == ["first", "second"]


def test_an_error_is_recorded_and_passed_on(chromium: Chromium) -> None:
    for name, error in (("x", "ConnectionReset"), ("y", "SomethingNew")):
        chromium.ask(name)
        chromium.respond(name, error=error)
    assert [e.error for e in chromium.recorder.exchanges()] == ["ConnectionReset", "Failed"]
    assert chromium.told() == ["Fetch.continueRequest x"] * 2 + ["Fetch.continueRequest y"] * 2


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "chrome://settings/", "ftp://a.test/", "filesystem:http://a/x"]
)
def test_other_schemes_are_refused(chromium: Chromium, url: str) -> None:
    chromium.ask("x", url)
    assert chromium.told() == ["Fetch.failRequest x"]
    assert chromium.recorder.exchanges() == ()


@pytest.mark.parametrize("url", ["data:text/html,x", "blob:http://a.test/1"])
def test_addresses_that_carry_their_content_are_not_recorded(chromium: Chromium, url: str) -> None:
    chromium.ask("x", url)
    assert chromium.told() == ["Fetch.continueRequest x"]
    assert chromium.recorder.exchanges() == ()


def test_a_body_is_cut_at_its_limit_and_the_page_gets_what_is_kept() -> None:
    chromium = Chromium(replace(LIMITS, response_bytes=10))
    chromium.ask("x")
    chromium.respond("x")
    chromium.open_body("x")
    chromium.piece(b"0123456")
    chromium.piece(b"789abc")
    assert chromium.handed_over() == b"0123456789"
    assert chromium.recorder.exchanges()[0].cut == "response_bytes"
    assert chromium.recorder.cuts[0].limit == "response_bytes"


def test_a_body_of_exactly_the_limit_is_whole() -> None:
    chromium = Chromium(replace(LIMITS, response_bytes=4, page_bytes=8))
    chromium.whole("x", b"1234")
    chromium.whole("y", b"5678")
    assert [e.cut for e in chromium.recorder.exchanges()] == ["", ""]
    assert not chromium.recorder.stopped


def test_sound_and_film_are_cut_earlier() -> None:
    chromium = Chromium(replace(LIMITS, media_bytes=3))
    chromium.ask("x", kind="Media")
    chromium.respond("x", kind="Media")
    chromium.open_body("x")
    chromium.piece(b"12345")
    assert chromium.recorder.exchanges()[0].cut == "media_bytes"


def test_a_page_is_cut_at_its_limit_and_asks_for_nothing_more() -> None:
    chromium = Chromium(replace(LIMITS, page_bytes=10))
    chromium.whole("x", b"1234567")
    chromium.whole("y", b"89abcd")
    assert chromium.bodies() == {"x": b"1234567", "y": b"89a"}
    assert chromium.recorder.stopped == "page_bytes"
    chromium.told()
    chromium.ask("z")
    assert chromium.told() == ["Fetch.failRequest z"]


def test_a_page_may_ask_for_so_many_things_and_no_more() -> None:
    chromium = Chromium(replace(LIMITS, responses=3))
    for name in "abcde":
        chromium.ask(name)
    assert chromium.told() == [f"Fetch.continueRequest {n}" for n in "abc"] + [
        f"Fetch.failRequest {n}" for n in "de"
    ]
    assert [c.limit for c in chromium.recorder.cuts] == ["responses"]


def test_an_endless_body_is_cut_with_what_has_come() -> None:
    chromium = Chromium()
    chromium.ask("x")
    chromium.respond("x")
    chromium.open_body("x")
    chromium.piece(b"so far ")
    chromium.now += LIMITS.response_seconds - 1
    chromium.recorder.tick()
    chromium.told()
    read = chromium.recorder  # the pending read, before the time is up
    chromium.now += 2
    read.tick()
    assert chromium.told() == ["IO.read s-x"], "the second read makes the first one answer"


def test_a_flushed_read_ends_the_body() -> None:
    chromium = Chromium()
    chromium.ask("x")
    chromium.respond("x")
    chromium.open_body("x")
    pending = next(t for m, _, t, _ in chromium.sent if m == "IO.read")
    chromium.now += LIMITS.response_seconds
    chromium.recorder.tick()
    pending(Fields({"data": "so far", "eof": False}))
    assert chromium.handed_over() == b"so far"
    assert chromium.recorder.exchanges()[0].cut == "response_seconds"


def test_a_body_of_which_nothing_came_is_ended_all_the_same() -> None:
    chromium = Chromium()
    chromium.ask("x")
    chromium.respond("x")
    chromium.open_body("x")
    chromium.now += LIMITS.response_seconds
    chromium.recorder.tick()
    chromium.now += FLUSH_SECONDS
    chromium.recorder.tick()
    assert chromium.handed_over() == b""
    assert not chromium.recorder.reading()


def test_a_body_shorter_than_announced_is_marked(chromium: Chromium) -> None:
    chromium.whole("x", b"1234", Content_Length="9")
    assert chromium.recorder.exchanges()[0].cut == "connection"
    chromium.whole("y", b"1234", Content_Length="9", Content_Encoding="gzip")
    chromium.whole("z", b"1234", Content_Length="4")
    assert [e.cut for e in chromium.recorder.exchanges()[1:]] == ["", ""]


def test_a_read_that_fails_hands_over_what_there_is(chromium: Chromium) -> None:
    chromium.ask("x")
    chromium.respond("x")
    chromium.open_body("x")
    chromium.piece(b"half")
    chromium.refuse("IO.read")
    assert chromium.handed_over() == b"half"
    assert chromium.recorder.exchanges()[0].cut == "connection"


def test_a_request_the_page_gives_up_is_unanswered_and_holds_nothing_up(
    chromium: Chromium,
) -> None:
    chromium.ask("x")
    assert chromium.recorder.waiting() == 1
    chromium.recorder.failed(Fields({"requestId": "n-x", "canceled": True}))
    assert chromium.recorder.waiting() == 0
    assert chromium.recorder.exchanges()[0].error == UNANSWERED


def test_a_response_that_is_gone_by_then_is_unanswered(chromium: Chromium) -> None:
    chromium.ask("x")
    chromium.respond("x")
    chromium.refuse("Fetch.takeResponseBodyAsStream")
    assert chromium.recorder.exchanges()[0].error == UNANSWERED


def test_a_long_poll_holds_the_page_up_only_so_long(chromium: Chromium) -> None:
    chromium.ask("x")
    chromium.now += LIMITS.patience_seconds - 0.1
    assert chromium.recorder.waiting() == 1
    chromium.now += 0.2
    assert chromium.recorder.waiting() == 0
    chromium.recorder.finish()
    assert chromium.recorder.exchanges()[0].error == UNANSWERED


def test_an_event_stream_is_let_through_and_not_kept(chromium: Chromium) -> None:
    chromium.ask("x")
    chromium.respond("x", Content_Type="text/event-stream; charset=utf-8")
    assert chromium.told() == ["Fetch.continueRequest x"] * 2
    assert chromium.recorder.waiting() == 0


@pytest.mark.parametrize(
    "headers",
    [{"Content_Disposition": "attachment; filename=x"}, {"Content_Type": "application/zip"},
     {"Content_Type": "application/octet-stream"}, {"Content_Type": "application/pdf"}],
)  # fmt: skip
def test_a_page_that_is_a_download_is_a_failure(
    chromium: Chromium, headers: dict[str, str]
) -> None:
    chromium.ask("x", kind="Document")
    chromium.respond("x", kind="Document", **headers)
    assert chromium.told() == ["Fetch.continueRequest x", "Fetch.failRequest x"]
    assert chromium.recorder.failure and chromium.recorder.failure.kind == "download"


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "TEXT/HTML; charset=x", "", "image/png", "application/xhtml+xml",
     "application/atom+xml", "application/json"],
)  # fmt: skip
def test_what_a_browser_shows_is_a_page(chromium: Chromium, content_type: str) -> None:
    chromium.ask("x", kind="Document")
    chromium.respond("x", kind="Document", Content_Type=content_type)
    assert chromium.recorder.failure is None


def test_a_download_in_a_frame_is_no_failure_of_the_page(chromium: Chromium) -> None:
    chromium.ask("x", kind="Document", frame="another")
    chromium.respond("x", kind="Document", frame="another", Content_Type="application/zip")
    assert chromium.recorder.failure is None


def test_the_page_is_the_last_document_of_its_frame(chromium: Chromium) -> None:
    chromium.ask("a", kind="Document")
    chromium.respond("a", 302, kind="Document", Location="/b")
    chromium.ask("b", kind="Document")
    chromium.respond("b", 404, kind="Document")
    chromium.ask("c", kind="Document", frame="another")
    chromium.ask("d")
    assert chromium.recorder.page_url == "http://a.test/b"
    assert chromium.recorder.page_status == 404


def test_cookies_are_added_to_the_response_that_set_them(chromium: Chromium) -> None:
    cookies = {
        "requestId": "n-x",
        "statusCode": 200,
        "headers": {"Set-Cookie": "a=b\nc=d", "X": "y"},
    }
    chromium.recorder.cookies(Fields(cookies))
    chromium.whole("x", Content_Type="text/html")
    chromium.whole("y")
    first, second = chromium.recorder.exchanges()
    assert first.headers[1:] == (("Set-Cookie", "a=b"), ("Set-Cookie", "c=d"))
    assert second.headers == ()


def test_headers_that_could_not_be_packed_are_left_out(chromium: Chromium) -> None:
    chromium.ask("x", headers={"Good": "yes", "Bad name": "x", "Bad": "a\r\nb", "Number": 1})
    chromium.respond("x", 204, Good="yes", Bad="a\nb")
    (exchange,) = chromium.recorder.exchanges()
    assert exchange.request_headers == exchange.headers == (("Good", "yes"),)


def test_what_was_posted_is_kept_within_its_limit() -> None:
    chromium = Chromium(replace(LIMITS, request_bytes=5))
    for name, body in (("x", b"12345"), ("y", b"123456")):
        entries = [{"bytes": base64.b64encode(body[:3]).decode()},
                   {"bytes": base64.b64encode(body[3:]).decode()}]  # fmt: skip
        chromium.ask(name, postDataEntries=entries)
    assert [e.request_body for e in _finished(chromium)] == [b"12345", b""]
    assert [c.limit for c in chromium.recorder.cuts] == ["request_bytes"]


def test_what_is_kept_besides_bodies_has_a_limit_of_its_own() -> None:
    """Else a page could fill the function's memory with headers and with what it sends."""
    sent = {"postDataEntries": [{"bytes": base64.b64encode(bytes(1000)).decode()}]}
    for more in ({"headers": {"X": "x" * 1000}}, {"url": "http://a.test/" + "x" * 1000}, sent):
        chromium = Chromium(replace(LIMITS, head_bytes=2500))
        for name in "abcd":
            chromium.ask(name, **more)  # type: ignore[arg-type]
        assert [told.split()[0] for told in chromium.told()] == ["Fetch.continueRequest"] * 2 + [
            "Fetch.failRequest"
        ] * 2
        assert [cut.limit for cut in chromium.recorder.cuts] == ["head_bytes"]


def test_what_a_server_says_of_its_answers_counts_too() -> None:
    chromium = Chromium(replace(LIMITS, head_bytes=2500))
    for name in "abcd":
        chromium.ask(name)
        chromium.respond(name, 204, X="x" * 1000)
        lines = {"Set-Cookie": "y" * 1000}
        event = {"requestId": f"n-{name}", "statusCode": 204, "headers": lines}
        chromium.recorder.cookies(Fields(event))
    kept = [value for each in chromium.recorder.exchanges() for _, value in each.headers]
    assert kept == ["x" * 1000, "y" * 1000]
    assert chromium.recorder.stopped == "head_bytes"


def test_a_method_that_no_pack_may_hold_is_refused_alone(chromium: Chromium) -> None:
    chromium.ask("odd", method="M" * 300)
    chromium.whole("x")
    assert chromium.told()[:2] == ["Fetch.failRequest odd", "Fetch.continueRequest x"]
    assert chromium.bodies() == {"x": b"body"}


def test_a_poll_with_the_same_answer_is_kept_once(chromium: Chromium) -> None:
    for body in (b"same", b"same", b"new"):
        chromium.whole("x", body)
    assert [e.body for e in chromium.recorder.exchanges()] == [b"same", b"new"]


def test_after_stop_what_is_being_read_ends_and_nothing_goes_out(chromium: Chromium) -> None:
    chromium.ask("reading")
    chromium.respond("reading")
    chromium.open_body("reading")
    chromium.ask("asked")
    pending = next(t for m, _, t, _ in chromium.sent if m == "IO.read")
    chromium.told()
    chromium.recorder.stop()
    assert chromium.told() == ["IO.read s-reading"]
    pending(Fields({"data": "half", "eof": False}))
    chromium.told()
    chromium.ask("late")
    assert chromium.told() == ["Fetch.failRequest late"]
    found = {e.url.rpartition("/")[2]: (e.body, e.error) for e in _finished(chromium)}
    assert found == {"reading": (b"half", ""), "asked": (b"", UNANSWERED)}


def _finished(chromium: Chromium) -> tuple[object, ...]:
    chromium.recorder.finish()
    return chromium.recorder.exchanges()
