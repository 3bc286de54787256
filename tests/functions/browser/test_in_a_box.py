"""The function in a real sandbox with its real egress, called by a real client; only Tor is missing."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.functions.browser.direct import differing, photograph, pixels
from tests.functions.browser.site import Site
from tests.local_box import local_box

from bento.functions.browser.client import arguments, build_upload, read_pack, read_parts
from bento.functions.browser.pack import Pack
from bento.functions.browser.replay import Replay
from bento.functions.browser.sizes import KIB, WARM_UP_BYTES


async def fetch(local: object, url: str, **options: str) -> bytes:
    instance, session = await local.box.run(build_upload(), **arguments(url, **options))  # type: ignore[attr-defined]
    try:
        return b"".join([piece async for piece in session])
    finally:
        await instance.shutdown()


async def once(answer: bytes):
    yield answer


async def test_a_page_comes_out_of_a_real_sandbox_pixel_identical(site: Site) -> None:
    async with local_box(images=("browser",)) as local:
        answer = await fetch(local, site.url("/rich"))
    assert len(answer) == WARM_UP_BYTES + 256 * KIB
    pack = await read_pack(once(answer))
    assert pack.failure is None
    reference = photograph(site, "/rich")
    site.hits.clear()
    with Replay(pack) as page:
        assert differing(pixels(page.picture()), reference) == 0
        assert page.blocked == 0
    assert site.hits == []


async def test_what_the_boxs_egress_refuses_is_named(site: Site) -> None:
    async with local_box(images=("browser",)) as local:
        answers = [
            await fetch(local, url, timing="none")
            for url in ("http://10.1.2.3/", "http://127.0.0.1:9051/", "http://[::1]:9051/")
        ]
    for answer in answers:
        failure = (await read_pack(once(answer))).failure
        assert failure and failure.kind == "policy", failure


async def test_a_page_that_needs_too_much_memory_is_named(site: Site) -> None:
    """The sandbox's limit ends the page's own process; the function lives to tell it."""
    async with local_box(images=("browser",)) as local:
        answer = await fetch(local, site.url("/hungry"), timing="none")
    failure = (await read_pack(once(answer))).failure
    assert failure and failure.kind == "crash", failure
    assert "memory" in failure.detail


async def test_in_parts_a_response_is_here_while_the_page_waits_for_the_next_one() -> None:
    """The style sheet is not sent before the reader has the page that asks for it."""
    page = b"<!doctype html><link rel=stylesheet href=/held.css><p>hello"
    here = threading.Event()

    class Held(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_style = self.path == "/held.css"
            if is_style:
                here.wait(100)
            self.send_response(200)
            self.send_header("Content-Type", "text/css" if is_style else "text/html")
            self.end_headers()
            self.wfile.write(b"p { color: red }" if is_style else page)

        def log_message(self, *_: object) -> None:
            pass

    seen: list[str] = []

    def tell(part: Pack) -> None:
        seen.extend(exchange.url for exchange in part.exchanges)
        here.set()

    with ThreadingHTTPServer(("127.80.0.31", 0), Held) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.80.0.31:{server.server_port}/"
        async with local_box(images=("browser",)) as local:
            words = arguments(url, "none", "none")
            instance, session = await local.box.run(build_upload(), **words, parts=True)
            pack, _ = await read_parts(session, tell)
            await session.detach()
            await instance.shutdown()
        server.shutdown()
    assert pack.failure is None and pack.cuts == ()
    bodies = {each.url: each.body for each in pack.exchanges}
    assert (bodies[url], bodies[f"{url}held.css"]) == (page, b"p { color: red }")
    assert seen[0] == url
