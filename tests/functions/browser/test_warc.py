"""A saved page is a standard web archive: an independent reader (warcio) reads all of it."""

import io

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker

from bento.functions.browser.pack import Cut, Exchange, Failure, Pack
from bento.functions.browser.warc import archive

PACK = Pack(
    url="http://a.test/",
    final_url="http://a.test/page",
    title="Ein Titel ✓",
    date=1_700_000_000,
    software="Chrome/156.0",
    failure=Failure("http", "the server answered with HTTP status 404"),
    cuts=(Cut("response_bytes", "more than 16 MiB: http://a.test/big"),),
    exchanges=(
        Exchange("GET", "http://a.test/", status=301, reason="Moved", headers=(("Location", "/p"),)),
        Exchange(
            "GET",
            "http://a.test/page?x=1",
            request_headers=(("Accept", "*/*"),),
            status=404,
            reason="Not Found",
            headers=(
                ("Content-Type", "text/html"),
                ("Content-Encoding", "gzip"),
                ("Content-Length", "7"),
                ("Set-Cookie", "a=b"),
                ("Set-Cookie", "c=d"),
            ),
            body="<p>grün".encode(),
        ),
        Exchange("POST", "http://a.test/form", request_body=b"a=1", status=200, body=b"\0\xff" * 50),
        Exchange("GET", "http://a.test/big", status=200, body=b"x" * 1000, cut="response_bytes"),
        Exchange("GET", "http://a.test/slow", status=200, body=b"y", cut="response_seconds"),
        Exchange("GET", "http://a.test/gone", error="ConnectionReset"),
    ),
)  # fmt: skip


def records(data: bytes) -> list[tuple[object, bytes]]:
    found = ArchiveIterator(io.BytesIO(data), check_digests="raise")
    return [(record, record.content_stream().read()) for record in found]


@pytest.mark.parametrize("compressed", [False, True])
def test_an_independent_reader_finds_every_response_with_its_digests(compressed: bool) -> None:
    found = {
        r.rec_headers["WARC-Target-URI"]: (r, body)
        for r, body in records(archive(PACK, compressed=compressed))
        if r.rec_type == "response"
    }
    assert list(found) == [e.url for e in PACK.exchanges if not e.error]
    for exchange in PACK.exchanges:
        if exchange.error:
            continue
        record, body = found[exchange.url]
        assert body == exchange.body
        assert record.http_headers.get_statuscode() == str(exchange.status)
        assert record.rec_headers["WARC-Date"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("compressed", [False, True])
def test_the_readers_own_checker_finds_no_fault(
    compressed: bool, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / ("page.warc.gz" if compressed else "page.warc")  # type: ignore[operator]
    file.write_bytes(archive(PACK, compressed=compressed))
    command = type("Command", (), {"inputs": [str(file)], "verbose": True})()
    checker = Checker(command)
    checker.process_all()
    assert checker.exit_value == 0, capsys.readouterr().out


def test_requests_stand_beside_their_responses() -> None:
    found = records(archive(PACK))
    ids = {r.rec_headers["WARC-Record-ID"] for r, _ in found}
    assert len(ids) == len(found), "record ids are unique"
    requests = [(r, body) for r, body in found if r.rec_type == "request"]
    assert all(r.rec_headers["WARC-Concurrent-To"] in ids for r, _ in requests)
    (form,) = [(r, b) for r, b in requests if r.rec_headers["WARC-Target-URI"].endswith("/form")]
    assert form[1] == b"a=1"
    assert form[0].http_headers.protocol == "POST"
    assert form[0].http_headers["Host"] == "a.test"


def test_headers_agree_with_the_decoded_body_and_the_servers_own_are_kept() -> None:
    ((page, body),) = [
        (r, b)
        for r, b in records(archive(PACK))
        if r.rec_type == "response" and r.rec_headers["WARC-Target-URI"].endswith("x=1")
    ]
    headers = page.http_headers
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Encoding"] is None
    assert headers["X-Archive-Orig-Content-Encoding"] == "gzip"
    assert headers["X-Archive-Orig-Content-Length"] == "7"
    assert [v for n, v in headers.headers if n == "Set-Cookie"] == ["a=b", "c=d"]


def test_a_cut_body_says_why() -> None:
    found = {
        r.rec_headers["WARC-Target-URI"]: r.rec_headers["WARC-Truncated"]
        for r, _ in records(archive(PACK))
        if r.rec_type == "response"
    }
    assert found["http://a.test/big"] == "length"
    assert found["http://a.test/slow"] == "time"
    assert found["http://a.test/"] is None


def test_what_the_pack_says_of_the_page_is_in_its_metadata() -> None:
    ((_, metadata),) = [(r, b) for r, b in records(archive(PACK)) if r.rec_type == "metadata"]
    text = metadata.decode()
    for line in (
        "final-url: http://a.test/page",
        "title: Ein Titel ✓",
        "failure: http: the server answered with HTTP status 404",
        "cut: response_bytes: more than 16 MiB: http://a.test/big",
        "no-response: ConnectionReset GET http://a.test/gone",
    ):
        assert line in text.splitlines()


def test_the_same_pack_gives_the_same_file() -> None:
    assert archive(PACK) == archive(PACK)
    assert archive(PACK, compressed=True) == archive(PACK, compressed=True)
