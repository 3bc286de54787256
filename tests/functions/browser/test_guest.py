"""The function as a box runs it: in a sandbox, with a real Chromium, behind a SOCKS proxy."""

import random
import time
from collections.abc import Callable
from errno import EAGAIN

import pytest
from tests.functions.browser.box import call, calling
from tests.functions.browser.site import FONT, Site, https, svg

from bento.functions.browser import guest
from bento.functions.browser.pack import UNANSWERED, Exchange, Pack
from bento.functions.browser.packing import decode
from bento.functions.browser.sizes import KIB, MIB, WARM_UP_BYTES
from bento.guest.chromium import Program

Fetched = Callable[[str], Pack]

QUICK = {"page_seconds": 8, "response_seconds": 2, "patience_seconds": 1, "extras_seconds": 2}


def fetch(url: str, **limits: float) -> Pack:
    return decode(call(url, timing="none", limits={**QUICK, **limits}).answer, "x2")


def by_path(pack: Pack) -> dict[str, list[tuple[int, str, bytes]]]:
    found: dict[str, list[tuple[int, str, bytes]]] = {}
    for e in pack.exchanges:
        path = "/" + e.url.split("/", 3)[3]
        found.setdefault(path, []).append((e.status, e.error, e.body))
    return found


# --- a whole page ------------------------------------------------------------------------------


def test_every_part_of_a_rich_page_comes_back(fetched: Fetched, site: Site) -> None:
    pack = fetched("/")
    assert (pack.url, pack.final_url) == (site.url("/"), site.url("/rich"))
    assert pack.title == "A rich page ✓"
    assert pack.failure is None
    assert pack.status == 200
    assert pack.software.startswith("Chrome/")
    assert abs(pack.date - time.time()) < 600
    found = by_path(pack)
    for path in ("/", "/moved.svg", "/moved-again.svg"):
        assert found[path][0][0] in (301, 302), "redirects are in the pack"
    for path in (
        "/rich", "/style.css?v=2", "/colors.css", "/script.js", "/data.json?q=1", "/worker.js",
        "/data.json?q=worker", "/picture.svg?color=teal&n=1", "/picture.svg?color=crimson",
        "/frame", "/picture.svg?color=navy", "/lazy.svg", "/seen.svg",
        "/open.json",
    ):  # fmt: skip
        assert found[path][-1][0] == 200, path
    assert (200, "", FONT.read_bytes()) in found["/font.ttf"]


def test_bodies_have_their_codings_undone_and_headers_are_the_servers(fetched: Fetched) -> None:
    pack = fetched("/")
    (page,) = [e for e in pack.exchanges if e.url.endswith("/rich")]
    assert page.body.startswith(b"<!doctype html>")
    assert ("Content-Encoding", "gzip") in page.headers
    assert ("Set-Cookie", "taste=salt; Path=/") in page.headers


def test_what_the_page_posts_is_in_the_pack_with_its_answer(fetched: Fetched) -> None:
    (post,) = [e for e in fetched("/").exchanges if e.method == "POST"]
    assert post.request_body == b"posted-by-the-page"
    assert post.body == b"echo of posted-by-the-page"


def test_a_body_that_breaks_off_is_marked(fetched: Fetched) -> None:
    (broken,) = [e for e in fetched("/").exchanges if e.url.endswith("/broken.svg")]
    assert broken.cut == "connection"


def test_what_is_loaded_only_far_down_a_long_page_is_there(site: Site) -> None:
    assert by_path(fetch(site.url("/long")))["/lazy.svg?far"] == [(200, "", svg("green"))]


def test_a_still_page_is_taken_at_once_and_whole(site: Site) -> None:
    """Neither watched nor shown all the way down: all that it is made of is there without."""
    found = by_path(fetch(site.url("/still"), quiet_seconds=60, page_seconds=60))
    for path in ("/still.css", "/colors.css", "/font.ttf", "/seen.svg", "/lazy.svg",
                 "/picture.svg?color=gold", "/picture.svg?color=lime"):  # fmt: skip
        assert 200 in [status for status, _, _ in found[path]], path
    assert len(found) == 8


def test_an_old_charset_survives(site: Site) -> None:
    pack = fetch(site.url("/latin"))
    assert pack.title == "café"
    assert by_path(pack)["/latin"][0][2].endswith(b"caf\xe9 \xff")


def test_an_https_page_comes_back(site: Site) -> None:
    with https(site) as url:
        run = call(url, timing="none", flags=("--ignore-certificate-errors",))
        pack = decode(run.answer, "x2")
        assert pack.failure is None
        assert pack.final_url == url
        assert pack.status == 200
        refused = fetch(url)
        assert refused.failure and refused.failure.kind == "certificate"


def test_the_browser_asks_for_the_pages_hosts_and_nothing_else(site: Site) -> None:
    """Chromium's own errands (updates, sign-in, time) never reach the network."""
    with calling(site.url("/"), timing="none") as running:
        time.sleep(5)
        run = running.result()
    other = site.other.partition(":")[0]
    assert {host for host, _ in run.asked} == {"127.80.44.1", other}


def test_sites_see_an_ordinary_browser(fetched: Fetched) -> None:
    agents = {
        value
        for e in fetched("/").exchanges
        for name, value in e.request_headers
        if name.lower() == "user-agent"
    }
    assert len(agents) == 1
    assert "Headless" not in agents.pop()


def test_nothing_is_left_in_the_sandbox(site: Site) -> None:
    run = call(site.url("/plain"), timing="none")
    assert run.status == 0
    assert run.profiles == 0
    assert run.processes == 2, "bubblewrap's init and the function itself"
    assert run.complaints == ""


def test_parts_for_users_without_a_chromium_are_made_when_asked_for(site: Site) -> None:
    pack = decode(call(site.url("/plain"), timing="none", extras="all").answer, "x2")
    assert pack.picture.startswith(b"\x89PNG")
    assert b"The quick brown fox" in pack.mhtml
    assert b"multipart/related" in pack.mhtml


# --- what an observer sees ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "size"),
    [("x2", WARM_UP_BYTES + 256 * KIB), ("7MB", 7_000_000)],
)
def test_the_answer_is_of_a_public_size(site: Site, padding: str, size: int) -> None:
    assert len(call(site.url("/plain"), padding=padding, timing="none").answer) == size


@pytest.mark.parametrize("path", ["/plain", "/silent"])
def test_an_answer_starts_at_a_public_time_be_it_a_page_or_a_failure(site: Site, path: str) -> None:
    run = call(site.url(path), limits={"page_seconds": 3})
    starts = [2.0**k for k in range(8)]
    late = min(run.began - start for start in starts if run.began >= start)
    assert late < 0.3, "a sleeping process wakes up a little late, on a busy machine"
    assert len(run.answer) == WARM_UP_BYTES + 256 * KIB


def test_without_a_padding_the_answer_is_as_long_as_it_is(site: Site) -> None:
    run = call(site.url("/plain"), padding="none", timing="none")
    assert len(run.answer) < 3000
    assert decode(run.answer, "none").title == "t"


class Outbox:
    def __init__(self) -> None:
        self.sent: list[tuple[float, int]] = []
        self.answer = bytearray()

    def send(self, data: bytes) -> None:
        self.sent.append((time.monotonic(), len(data)))
        self.answer += data

    def chromium(self) -> Program:
        raise OSError(EAGAIN, "no more processes")


@pytest.mark.parametrize("noise", [0, 100_000, 200_000])
def test_an_answer_is_sent_in_blocks_that_tell_only_its_padded_size(
    noise: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Pack(url="http://a.test/", picture=random.Random(1).randbytes(noise))
    monkeypatch.setattr(guest, "fetch", lambda *_: page)
    outbox = Outbox()
    guest.main(outbox, "http://a.test/", timing="none")
    assert [size for _, size in outbox.sent] == [64 * KIB] * 3 + [32 * KIB] + [64 * KIB] * 4


def test_the_warm_up_leaves_before_anything_is_known_of_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outbox = Outbox()
    sent_by_then: list[int] = []

    def fetch(*_: object) -> Pack:
        sent_by_then.append(sum(size for _, size in outbox.sent))
        return Pack(url="http://a.test/")

    monkeypatch.setattr(guest, "fetch", fetch)
    guest.main(outbox, "http://a.test/", timing="none")
    guest.main(outbox, "http://a.test/", padding="1MB", timing="none")
    whole = WARM_UP_BYTES + 256 * KIB
    assert sent_by_then == [WARM_UP_BYTES, whole], "the paper's sets have none"


def test_the_start_is_counted_from_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> Pack:
        time.sleep(1.1)
        return Pack(url="http://a.test/")

    monkeypatch.setattr(guest, "fetch", slow)
    outbox = Outbox()
    called = time.monotonic()
    guest.main(outbox, "http://a.test/")
    assert outbox.sent[4][0] - called == pytest.approx(2, abs=0.4)


def test_a_page_that_cannot_be_packed_is_a_failure_of_a_public_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = Exchange("GET", "http://a.test/", status=200, body=bytes(24 * MIB))
    too_large = Pack(url="http://a.test/", exchanges=(body,) * 4)
    monkeypatch.setattr(guest, "fetch", lambda *_: too_large)
    outbox = Outbox()
    guest.main(outbox, "http://a.test/", timing="none")
    failure = decode(bytes(outbox.answer), "x2").failure
    assert failure and failure.kind == "size"


def test_a_fault_of_the_function_is_a_failure_of_a_public_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(*_: object) -> Pack:
        raise RuntimeError("a \x1b bug")

    monkeypatch.setattr(guest, "fetch", faulty)
    outbox = Outbox()
    guest.main(outbox, "http://a.test/", timing="none")
    failure = decode(bytes(outbox.answer), "x2").failure
    assert failure and failure.kind == "internal"
    assert "RuntimeError: a   bug" in failure.detail


def test_a_box_that_cannot_start_a_chromium_is_a_failure_of_a_public_size() -> None:
    outbox = Outbox()
    guest.main(outbox, "http://a.test/", timing="none")
    failure = decode(bytes(outbox.answer), "x2").failure
    assert failure and failure.kind == "image"


@pytest.mark.parametrize("wrong", [{"padding": "3MB"}, {"timing": "now"}, {"extras": "pdf"}])
def test_an_unknown_word_is_refused_before_anything_is_fetched(wrong: dict[str, str]) -> None:
    outbox = Outbox()
    with pytest.raises(ValueError, match="none of"):
        guest.main(outbox, "http://a.test/", **wrong)
    assert outbox.sent == []


# --- failures, each named ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/missing", "http", "404"),
        ("/error-500", "http", "500"),
        ("/error-bare", "http", "503"),
        ("/attachment", "download", "attachment"),
        ("/file.zip", "download", "application/zip"),
        ("/empty-204", "empty", "no page"),
        ("/loop", "redirects", "elsewhere"),
        ("/to-file", "redirects", "cannot be opened"),
        ("/hangup", "empty", "without an answer"),
        ("/silent", "timeout", "did not answer within 3 s"),
    ],
)
def test_a_page_that_is_none_is_named(site: Site, path: str, kind: str, words: str) -> None:
    pack = fetch(site.url(path), page_seconds=3)
    assert pack.failure
    assert (pack.failure.kind, words in pack.failure.detail) == (kind, True), pack.failure


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://name.test/", "name"),
        ("http://policy.test/", "policy"),
        ("https://refused.test/", "refused"),
        ("http://slow.test:8080/", "timeout"),
        ("http://127.0.0.1:1080/", "policy"),
        ("http://127.80.44.1:1/", "address"),
        ("file:///etc/passwd", "address"),
        ("chrome://settings/", "address"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named(url: str, kind: str) -> None:
    pack = fetch(url)
    assert pack.failure
    assert pack.failure.kind == kind, pack.failure


def test_the_servers_error_page_is_kept(site: Site) -> None:
    pack = fetch(site.url("/missing"))
    assert pack.title == "gone"
    assert by_path(pack)["/missing"] == [(404, "", b"<title>gone</title><h1>Not here</h1>")]


@pytest.mark.parametrize("kind", ["browser", "renderer"])
def test_a_crash_is_named(site: Site, kind: str) -> None:
    patient = {"patience_seconds": 60, "page_seconds": 60}
    with calling(site.url("/long-poll"), timing="none", limits=patient) as running:
        until = time.monotonic() + 60
        while "/silent" not in site.hits and time.monotonic() < until:
            time.sleep(0.05)
        running.kill(kind)
        run = running.result()
    failure = decode(run.answer, "x2").failure
    assert failure and failure.kind == "crash", failure
    assert len(run.answer) == WARM_UP_BYTES + 256 * KIB
    assert run.profiles == 0


# --- pages without an end, each cut at a named limit -------------------------------------------


def cut_names(pack: Pack) -> set[str]:
    return {cut.limit for cut in pack.cuts}


@pytest.mark.parametrize("path", ["/endless", "/stalled"])
def test_an_endless_page_is_cut_with_what_has_come(site: Site, path: str) -> None:
    pack = fetch(site.url(path))
    assert pack.failure is None
    assert cut_names(pack) == {"response_seconds"}
    (page,) = [e for e in pack.exchanges if e.url.endswith(path)]
    assert page.cut == "response_seconds"
    assert (b"and so on" in page.body) == (path == "/endless")


def test_a_huge_body_is_cut(site: Site) -> None:
    pack = fetch(site.url("/with-huge-script"))
    assert cut_names(pack) == {"response_bytes"}
    (script,) = [e for e in pack.exchanges if e.url.endswith("/huge.js")]
    assert len(script.body) == 16 * MIB
    assert "16 MiB" in pack.cuts[0].detail


def test_a_huge_page_is_cut(site: Site) -> None:
    pack = fetch(site.url("/huge"), response_bytes=100_000)
    assert cut_names(pack) == {"response_bytes"}
    assert pack.weight < 110_000


def test_a_page_of_many_large_bodies_is_cut(site: Site) -> None:
    pack = fetch(site.url("/many-big"), page_bytes=4 * MIB)
    assert cut_names(pack) == {"page_bytes"}
    assert pack.weight == 4 * MIB


def test_a_page_that_asks_without_end_is_cut(site: Site) -> None:
    pack = fetch(site.url("/greedy"), responses=100)
    assert cut_names(pack) == {"responses"}
    assert len(pack.exchanges) <= 100


@pytest.mark.parametrize("path", ["/reload", "/spin"])
def test_a_page_that_never_finishes_is_packed_as_it_stands(site: Site, path: str) -> None:
    pack = fetch(site.url(path), page_seconds=3)
    assert "page_seconds" in cut_names(pack)
    assert pack.exchanges


def test_a_part_that_cannot_be_made_is_named(site: Site) -> None:
    run = call(site.url("/spin"), timing="none", extras="png", limits={**QUICK, "page_seconds": 2})
    pack = decode(run.answer, "x2")
    assert pack.picture == b""
    assert "extras_seconds" in cut_names(pack)


def test_a_dialog_does_not_hold_the_page_up(site: Site) -> None:
    pack = fetch(site.url("/alert"))
    assert pack.cuts == ()
    assert pack.failure is None


@pytest.mark.parametrize("how", ["/prefetch", "/prerender"])
def test_what_a_page_announces_is_not_fetched_behind_the_recorders_back(
    site: Site, how: str
) -> None:
    pack = fetch(site.url(how), quiet_seconds=2)
    assert pack.final_url == site.url("/plain?next")
    assert pack.status == 200
    assert sorted(site.hits) == sorted(by_path(pack))


@pytest.mark.parametrize(
    ("path", "stream"), [("/long-poll", "/silent"), ("/events", "/event-stream")]
)
def test_a_request_without_an_answer_does_not_hold_the_page_up(
    site: Site, path: str, stream: str
) -> None:
    pack = fetch(site.url(path))
    assert pack.cuts == ()
    assert by_path(pack)[stream] == [(0, UNANSWERED, b"")]
