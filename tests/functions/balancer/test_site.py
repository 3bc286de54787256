"""What a service shows, as it travels and as it is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import RemoteProtocolError, UsageError
from bento.functions.balancer import http, site
from bento.functions.balancer.site import FILES, ORIGIN, Files, Origin
from bento.onion.wire import vector


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_bytes(b"<p>home")
    (tmp_path / "sub" / "index.html").write_bytes(b"<p>sub")
    (tmp_path / "a b.txt").write_bytes(b"0123456789")
    (tmp_path / "secret").symlink_to("/etc/passwd")
    return tmp_path


def test_a_folder_travels_whole_and_links_out_of_it_do_not(folder):
    files = site.parse(FILES, site.pack_folder(folder))
    assert isinstance(files, Files)
    assert set(files.table) == {"index.html", "sub/index.html", "a b.txt"}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", b"<p>home"),
        ("/index.html", b"<p>home"),
        ("/sub/", b"<p>sub"),
        ("/sub", b"<p>sub"),
        ("/a%20b.txt?x=1", b"0123456789"),
        ("/../index.html", None),
        ("/secret", None),
        ("/nothing", None),
    ],
)
def test_a_target_names_a_file_of_the_table_and_nothing_else(folder, target, body):
    found = site.parse(FILES, site.pack_folder(folder)).find(target)
    assert (found and found[1]) == body


def test_what_cannot_be_served_is_told_at_home(tmp_path, monkeypatch):
    with pytest.raises(UsageError):
        site.pack_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError):
        site.pack_folder(tmp_path)
    (tmp_path / "big").write_bytes(bytes(100))
    monkeypatch.setattr(site, "MAX_CONTENT", 50)
    with pytest.raises(UsageError):
        site.pack_folder(tmp_path)


@given(st.binary(max_size=200))
def test_any_content_parses_or_is_refused(data):
    for kind in (FILES, ORIGIN, 9):
        try:
            site.parse(kind, data)
        except RemoteProtocolError:
            pass


def test_too_many_files_or_too_long_names_are_refused(monkeypatch):
    with pytest.raises(RemoteProtocolError):
        site.parse(FILES, vector(b"n" * 2000, 2) + vector(b"", 4))
    monkeypatch.setattr(site, "MAX_FILES", 1)
    with pytest.raises(RemoteProtocolError):
        site.parse(FILES, (vector(b"n", 2) + vector(b"", 4)) * 2)


@pytest.mark.parametrize("text", ["example.com:80", "192.0.2.1:8080", "[2001:db8::1]:443"])
def test_an_origin_reads_as_it_is_written(text):
    origin = site.parse(ORIGIN, text.encode())
    assert isinstance(origin, Origin)
    assert str(origin) == text


@pytest.mark.parametrize("text", ["", "host", "host:0", "host:65536", "a b:80", "-x:80", "x:8x"])
def test_no_origin_is_told_with_a_hint(text):
    with pytest.raises(UsageError) as told:
        site.parse_origin(text)
    assert told.value.hint


FILES_OF_TEN = Files({"f": b"0123456789"})


def ask(*lines: str) -> http.Answer:
    return http.answer("\r\n".join(lines).encode(), FILES_OF_TEN)


@pytest.mark.parametrize(
    ("lines", "status", "body", "keep"),
    [
        (["GET /f HTTP/1.1", "Host: x"], 200, b"0123456789", True),
        (["HEAD /f HTTP/1.1"], 200, b"", True),
        (["GET /f HTTP/1.0"], 200, b"0123456789", False),
        (["GET /f HTTP/1.0", "Connection: keep-alive"], 200, b"0123456789", True),
        (["GET /f HTTP/1.1", "connection: close"], 200, b"0123456789", False),
        (["GET /f HTTP/1.1", "Range: bytes=2-4"], 206, b"234", True),
        (["GET /f HTTP/1.1", "Range: bytes=7-"], 206, b"789", True),
        (["GET /f HTTP/1.1", "Range: bytes=-3"], 206, b"789", True),
        (["GET /f HTTP/1.1", "Range: bytes=5-99"], 206, b"56789", True),
        (["GET /f HTTP/1.1", "Range: bytes=4-2"], 200, b"0123456789", True),
        (["GET /f HTTP/1.1", "Range: bytes=0-1,3-4"], 200, b"0123456789", True),
        (["GET /f HTTP/1.1", "Range: bytes=10-"], 416, None, True),
        (["GET /g HTTP/1.1"], 404, None, True),
        (["POST /f HTTP/1.1"], 405, None, False),
        (["GET /f HTTP/1.1", "Content-Length: 5"], 400, None, False),
        (["GET /f HTTP/1.1", "Transfer-Encoding: chunked"], 400, None, False),
        (["GET /f HTTP/1.1", "no field"], 400, None, False),
        (["GET f HTTP/1.1"], 400, None, False),
        (["rubbish"], 400, None, False),
    ],
)
def test_requests_are_answered(lines, status, body, keep):
    said = ask(*lines)
    assert said.head.startswith(b"HTTP/1.1 %d " % status)
    assert said.keep == keep
    if body is not None:
        assert bytes(said.body) == body
    if not lines[0].startswith("HEAD"):
        assert b"Content-Length: %d\r\n" % len(said.body) in said.head


def test_nothing_of_the_machine_is_said():
    fields = {line.split(b":")[0] for line in ask("GET /f HTTP/1.1").head.split(b"\r\n")[1:-2]}
    assert fields == {b"Content-Length", b"Content-Type", b"Accept-Ranges", b"Connection"}


@given(st.binary(max_size=300))
def test_any_head_has_an_answer(head):
    assert http.answer(head, FILES_OF_TEN).head.endswith(http.END)
