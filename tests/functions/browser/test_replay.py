"""A pack, opened: it looks exactly like the page, and nothing at all is fetched."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from tests.functions.browser.box import call, descendants, kind_of
from tests.functions.browser.direct import differing, photograph, pixels
from tests.functions.browser.site import Site, web

from bento.errors import HostError
from bento.functions.browser import jail, replay
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.pack import UNANSWERED, Exchange, Pack
from bento.functions.browser.packing import decode
from bento.functions.browser.replay import Coming, Replay, open_window
from bento.functions.browser.window import GrowingWindow
from bento.guest.chromium import HEADLESS

Fetched = Callable[[str], Pack]


def html(body: str, url: str = "http://a.test/", **more: object) -> Pack:
    page = Exchange(
        "GET",
        url,
        status=200,
        headers=(("Content-Type", "text/html; charset=utf-8"),),
        body=f"<!doctype html><title>t</title>{body}".encode(),
    )
    others = more.pop("exchanges", ())
    return Pack(url=url, final_url=url, exchanges=(page, *others), **more)  # type: ignore[misc, arg-type]


def evaluate(page: Replay, script: str) -> str:
    answer = page._tab.call("Runtime.evaluate", {"expression": f"String({script})"})
    return answer.fields("result").text("value")


def wanted(page: Replay) -> list[str]:
    """What was blocked, but for the icon that these packs have not."""
    return [url for url in page.missing if not url.endswith("/favicon.ico")]


# --- it looks exactly like the page --------------------------------------------------------------


@pytest.mark.parametrize("path", ["/rich", "/handbook/sect.installation-steps.html"])
def test_a_replayed_page_is_pixel_identical_to_a_direct_load(
    fetched: Fetched, site: Site, path: str
) -> None:
    pack = fetched(path)
    reference = photograph(site, path)
    assert reference.shape[0] > 4000, "the whole height, what was loaded lazily too"
    site.hits.clear()
    with Replay(pack) as page:
        assert differing(pixels(page.picture()), reference) == 0
        assert page.blocked == 0, page.missing
    assert site.hits == [], "and the server, which is up, was asked for nothing"


def test_it_is_so_with_the_server_down() -> None:
    with web(45) as site:
        reference = photograph(site, "/")
        pack = decode(call(site.url("/"), timing="none").answer, "x2")
    with Replay(pack) as page:
        assert differing(pixels(page.picture()), reference) == 0


def test_the_comparison_sees_a_single_pixel(fetched: Fetched) -> None:
    with Replay(html("<p>one</p>")) as page:
        picture = pixels(page.picture()).copy()
    other = picture.copy()
    other[3, 4] ^= 1
    assert differing(picture, other) == 1


def test_scripts_run_as_they_did(fetched: Fetched) -> None:
    with Replay(fetched("/")) as page:
        assert evaluate(page, "document.getElementById('built').textContent") == (
            "built, by, JS echo of posted-by-the-page"
        )
        assert evaluate(page, "document.cookie") == "taste=salt"
        assert evaluate(page, "document.title") == "A rich page ✓"
        assert "no CORS" in evaluate(page, "document.body.innerText"), "origins are kept"


def test_a_service_worker_answers_as_it_did(fetched: Fetched, site: Site) -> None:
    pack = fetched("/serves-itself")
    site.hits.clear()
    with Replay(pack) as page:
        assert evaluate(page, "p.textContent") == 'worker {"items": ["built", "by", "JS"]}'
        assert wanted(page) == []
    assert site.hits == []


def test_a_request_with_a_clock_in_its_query_is_answered(fetched: Fetched, site: Site) -> None:
    with Replay(fetched("/volatile")) as page:
        assert "built" in evaluate(page, "document.getElementById('p').textContent")
        assert page.blocked == 0


def test_an_https_page_keeps_its_origin() -> None:
    url = "https://secure.test/"
    with Replay(html("<p>secure</p>", url)) as page:
        assert evaluate(page, "location.href + ' ' + isSecureContext") == f"{url} true"


def test_the_page_sees_the_browser_it_was_recorded_with() -> None:
    with Replay(html("", software="Chrome/123.4.5.6")) as page:
        agent = evaluate(page, "navigator.userAgent")
    assert "Chrome/123.0.0.0" in agent
    assert "Headless" not in agent


def test_what_was_never_answered_holds_nothing_up() -> None:
    script = Exchange("GET", "http://a.test/slow.js", error=UNANSWERED)
    pack = html("<p>here<script src=/slow.js></script>", exchanges=(script,))
    patient = replace(LIMITS, page_seconds=600)
    started = time.monotonic()
    with Replay(pack, limits=patient) as page:
        assert evaluate(page, "document.body.innerText") == "here"
        assert wanted(page) == []
    assert time.monotonic() - started < 300


def test_an_error_is_an_error_again() -> None:
    picture = Exchange("GET", "http://a.test/x.png", error="ConnectionReset")
    body = "<img src=/x.png onerror=\"document.title='failed'\">"
    with Replay(html(body, exchanges=(picture,))) as page:
        assert evaluate(page, "document.title") == "failed"
        assert wanted(page) == []


def test_any_status_is_given_as_it_was() -> None:
    statuses = (204, 206, 304, 404, 500, 599, 999)
    parts = [
        Exchange("GET", f"http://a.test/{status}", status=status, reason="Odd")
        for status in statuses
    ]
    script = f"""<script>
        Promise.all({list(statuses)}.map(s => fetch('/' + s).then(r => r.status + r.statusText)))
            .then(all => {{ document.title = all.join() }})
    </script>"""
    with Replay(html(script, exchanges=parts)) as page:
        assert evaluate(page, "document.title") == ",".join(f"{s}Odd" for s in statuses)


# --- a page that is still coming -----------------------------------------------------------------


def test_a_page_grows_as_its_parts_come_and_fetches_nothing(site: Site) -> None:
    (page,) = html("<p>hello<img src=/no.png><link rel=stylesheet href=/s.css>").exchanges
    style = Exchange(
        *("GET", "http://a.test/s.css"),
        status=200,
        headers=(("Content-Type", "text/css"),),
        body=b"p { color: red }",
    )
    coming: Coming = SimpleQueue()
    color = "getComputedStyle(document.querySelector('p')).color"
    with Replay(Pack(url="http://a.test/"), coming=coming) as shown:
        assert not shown._tab.wait(lambda: shown.blocked > 0, 0.5), "the page may still come"
        coming.put((page,))
        shown.grow()
        assert shown._tab.wait(lambda: "hello" in evaluate(shown, "document.body?.innerText"), 60)
        assert shown._tab.loaded is False and shown.blocked == 0
        coming.put((style,))
        shown.grow()
        assert shown._tab.wait(lambda: evaluate(shown, color) == "rgb(255, 0, 0)", 60)
        assert shown.blocked == 0, "the picture may still come"
        coming.put(None)
        shown.grow()
        assert shown._tab.wait(lambda: shown._tab.loaded, 60)
        assert wanted(shown) == ["http://a.test/no.png"]
    assert site.hits == []


def test_while_it_comes_a_request_waits_for_its_very_own_answer() -> None:
    """Two pictures whose names differ in their digits only: either could be the other's at another time."""
    ids = 1111111111111, 2222222222222
    body = "".join(
        f"<script>fetch('/p?{n}').then(r => r.text()).then(t => {{ document.title += t }})</script>"
        for n in ids
    )
    answers = [Exchange("GET", f"http://a.test/p?{n}", status=200, body=b"%d" % n) for n in ids]
    coming: Coming = SimpleQueue()
    with Replay(Pack(url="http://a.test/"), coming=coming) as shown:
        for exchange in (*html(body).exchanges, answers[1], answers[0]):
            coming.put((exchange,))
            shown.grow()
            shown._tab.wait(lambda: False, 0.2)
        assert shown._tab.wait(lambda: len(evaluate(shown, "document.title")) == 27, 60)
        assert evaluate(shown, "document.title") == f"t{ids[1]}{ids[0]}"


def test_a_page_that_asks_without_end_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "MAX_EARLY", 3)
    page = html("<script>for (let i = 0; i < 9; i++) fetch('/' + i)</script>")
    coming: Coming = SimpleQueue()
    coming.put(page.exchanges)
    with Replay(Pack(url="http://a.test/"), coming=coming) as shown:
        shown.grow()
        assert shown._tab.wait(lambda: shown.blocked >= 6, 60)
        assert len(shown._early) == 3


def test_a_window_that_cannot_be_opened_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    window = GrowingWindow()
    window.add(html("<p>x"))
    window.add(Pack(url="http://a.test/"))
    with pytest.raises(HostError, match="no display"):
        window.wait()


# --- nothing at all is fetched -------------------------------------------------------------------


def test_a_page_that_tries_everything_fetches_nothing(fetched: Fetched, site: Site) -> None:
    """Prefetch, preconnect, beacons, sockets, workers, WebRTC, pop-ups, random addresses."""
    pack = fetched("/tries-to-leak")
    site.hits.clear()
    with Replay(pack) as page:
        time.sleep(1)
        page.picture()
        assert len(page.missing) == 1
        assert page.missing[0].startswith(site.url("/late-")), "with another random number"
    assert site.hits == []


def test_what_is_not_in_the_pack_is_blocked_and_counted(site: Site) -> None:
    """The address of a server that is up, and would answer."""
    live = site.url("/picture.svg?color=red")
    with Replay(html(f"<img src='{live}'><iframe src='{site.url('/plain')}'></iframe>")) as page:
        assert evaluate(page, "document.images[0].naturalWidth") == "0"
        assert sorted(wanted(page)) == sorted([live, site.url("/plain")])
    assert site.hits == []


def test_a_script_cannot_send_the_browser_to_the_network(site: Site) -> None:
    with Replay(html(f"<script>location = '{site.url('/plain')}'</script>")) as page:
        time.sleep(0.5)
        assert site.url("/plain") in page.missing
    assert site.hits == []


def test_a_replaying_browser_has_no_network_but_an_empty_one_of_its_own() -> None:
    """Each layer alone: were a request let through by mistake, the kernel has nowhere to send it."""
    with Replay(html("<p>x")) as page:
        ours = os.readlink("/proc/self/ns/net")
        browsers = [p for p in descendants(page._chromium.pid) if kind_of(p) == "browser"]
        assert browsers
        for pid in browsers:
            assert os.readlink(f"/proc/{pid}/ns/net") != ours
            devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
            assert [line.split(":")[0].strip() for line in devices] == ["lo"]
            routes = Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]
            assert routes == []


def test_without_the_interception_there_is_still_no_way_out(site: Site) -> None:
    """The Fetch domain is switched off, as a fault in Chromium might do."""
    with Replay(html("<p>x")) as page:
        page._chromium.connection.call("Fetch.disable")
        page._tab.error = ""
        page._tab.navigate(site.url("/plain"))
        assert page._tab.wait(lambda: bool(page._tab.error), 30)
        assert page._tab.error == "net::ERR_PROXY_CONNECTION_FAILED"
    assert site.hits == []


def test_a_replay_started_by_root_does_not_run_as_root_and_keeps_chromiums_sandbox() -> None:
    with Replay(html("<p>x")) as page:
        renderers = [p for p in descendants(page._chromium.pid) if kind_of(p) == "renderer"]
        assert renderers
        for pid in renderers:
            status = Path(f"/proc/{pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if os.geteuid() == 0:
                assert set(fields["Uid"].split()) == {str(jail.REPLAY_UID)}
            assert fields["Seccomp"] == "2", "Chromium's own filter"
            assert fields["CapEff"].strip("0") == ""
            assert fields["NoNewPrivs"] == "1"


def test_a_replay_sees_nothing_of_the_users_files() -> None:
    with Replay(html("<p>x")) as page:
        (browser,) = [p for p in descendants(page._chromium.pid) if kind_of(p) == "browser"]
        root = Path(f"/proc/{browser}/root")
        assert sorted(p.name for p in root.iterdir()) == sorted(
            ["bin", "dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "var"]
        )
        assert [p.name for p in (root / "etc").iterdir()] == ["fonts"]


# --- and it ends ---------------------------------------------------------------------------------


def test_nothing_is_left_running() -> None:
    with Replay(html("<p>x")) as page:
        pids = [page._chromium.pid, *descendants(page._chromium.pid)]
        assert len(pids) > 3
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "a process of the replay lives on"
        time.sleep(0.05)


def test_a_chromium_that_dies_is_named() -> None:
    with Replay(html("<p>x")) as page:
        os.kill(page._chromium.pid, 9)
        with pytest.raises(HostError, match="could not be shown"):
            page.picture()


def test_a_pack_without_its_page_shows_an_error_and_fetches_nothing(site: Site) -> None:
    with Replay(Pack(url=site.url("/plain"))) as page:
        assert page.missing[0] == site.url("/plain")
    assert site.hits == []


def test_in_a_window_links_that_lead_out_are_answered_with_a_notice(
    monkeypatch: pytest.MonkeyPatch, fetched: Fetched, site: Site
) -> None:
    """All of a visible window but the glass: the display is Chromium's own, without a screen."""
    glass = jail.Display(binds=(), flags=HEADLESS)
    monkeypatch.setattr(jail, "find_display", lambda _: glass)
    pack = fetched("/")
    site.hits.clear()
    with Replay(pack, visible=True) as page:
        assert page._tab.wait(lambda: page._tab.loaded, 60)
        assert page.blocked == 0
        evaluate(page, f"location = '{site.url('/plain')}'")
        page._tab.wait(lambda: page.blocked > 0, 30)
        page._tab.wait(lambda: page._tab.loaded, 30)
        assert "not part of the saved page" in evaluate(page, "document.body.innerText")
        frame = {"targetId": page._tab.frame}
        page._chromium.connection.send("Target.closeTarget", frame)
        page.watch()  # ends, since the reader has closed the window
    assert site.hits == []


def test_without_a_display_no_window_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HostError, match="no display"):
        open_window(html("<p>x"))


def test_a_machine_without_chromium_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "PROGRAM", "/usr/lib/chromium/not-there")
    with pytest.raises(HostError, match="Chromium is not installed"):
        Replay(html("<p>x"))
