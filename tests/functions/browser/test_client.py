"""The half at home: the upload is one fixed file, arguments are checked, an answer is not trusted."""

import hashlib
import io
import subprocess
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from tests.functions.browser.box import RUNTIME
from tests.functions.browser.whole import whole
from warcio.archiveiterator import ArchiveIterator

from bento.errors import FunctionError, HostError, RemoteProtocolError, UsageError
from bento.functions.browser import replay
from bento.functions.browser.client import (
    arguments,
    build_upload,
    check,
    read_answer,
    read_pack,
    save,
)
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.pack import Exchange, Failure, Pack
from bento.functions.browser.packing import HEADER, MAGIC
from bento.functions.browser.sizes import KIB, MAX_ANSWER_BYTES, SIZE_SETS
from bento.functions.uploads import archived
from bento.protocol.manifest import Manifest, manifest_text

PAGE = Pack(
    url="http://a.test/",
    final_url="http://a.test/",
    exchanges=(
        Exchange(
            "GET",
            "http://a.test/",
            status=200,
            headers=(("Content-Type", "text/html"),),
            body=b"<!doctype html><title>t</title><h1>A page</h1>",
        ),
    ),
)


async def stream(data: bytes, piece: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), piece):
        yield data[at : at + piece]


# --- the upload ----------------------------------------------------------------------------------


def test_the_upload_is_the_same_bytes_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash is the function's name: it may not depend on the day, the zlib or the machine."""
    first = build_upload()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    build_upload.cache_clear()
    assert build_upload() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        entries = archive.infolist()
    assert [e.filename for e in entries] == sorted(e.filename for e in entries)
    assert {(e.date_time, e.compress_type, e.create_system) for e in entries} == {
        ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 3)
    }


def test_the_upload_asks_for_what_a_browser_needs_and_no_more() -> None:
    manifest = Manifest.parse(manifest_text(build_upload()))
    assert manifest.image == "browser"
    assert manifest.memory == 1 << 30
    assert manifest.egress == ("*:*",)


def test_the_upload_holds_nothing_of_the_half_at_home() -> None:
    with zipfile.ZipFile(io.BytesIO(build_upload())) as archive:
        names = set(archive.namelist())
        text = b"".join(archive.read(name) for name in names)
    assert names.isdisjoint(
        {f"browser/{n}.py" for n in ("client", "launch", "replay", "jail", "warc")}
    )
    assert b"import bento" not in text
    bento = {line for line in text.splitlines() if line.startswith(b"from bento")}
    assert bento <= {
        b"from bento.errors import BoxError",
        b"from bento.errors import RemoteProtocolError, UsageError",
        b"from bento.guest.chromium import DEAD_PROXY, HEIGHT, WIDTH",
        b"from bento.guest.chromium import Program",
    }  # which the guest has


def test_the_upload_loads_in_a_bare_interpreter(tmp_path: Path) -> None:
    """As in a sandbox: no site packages but Debian's, of ours only the runtime's, no environment."""
    upload, runtime = tmp_path / "function.zip", tmp_path / "guest.zip"
    upload.write_bytes(build_upload())
    runtime.write_bytes(archived(RUNTIME))
    script = (
        "import sys, runpy; sys.path[:0] = [*sys.argv[1:], '/usr/lib/python3/dist-packages'];"
        "main = runpy.run_path(sys.argv[1])['main']; print(main.__annotations__['url'].__name__)"
    )
    run = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script, str(upload), str(runtime)],
        capture_output=True, text=True, check=True, env={}, cwd="/",
    )  # fmt: skip
    assert run.stdout == "str\n"


# --- arguments -----------------------------------------------------------------------------------


def test_an_address_without_a_scheme_is_https() -> None:
    assert arguments("debian.org")["url"] == "https://debian.org"
    assert arguments("http://debian.org/")["url"] == "http://debian.org/"
    assert arguments("a.test", "1MB", "none", "all") == {
        "url": "https://a.test", "padding": "1MB", "timing": "none", "extras": "all",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (
            "http://bücher.test/Käse?q=ü b#ß",
            "http://xn--bcher-kva.test/K%C3%A4se?q=%C3%BC%20b#%C3%9F",
        ),
        ("http://a.test/%C3%A4?a=1&b=%20", "http://a.test/%C3%A4?a=1&b=%20"),
        ("http://[::1]:8080/~x/(y)", "http://[::1]:8080/~x/(y)"),
        ("a.test/<b>", "https://a.test/%3Cb%3E"),
    ],
)
def test_an_address_may_be_in_any_script(url: str, address: str) -> None:
    assert arguments(url)["url"] == address


@pytest.mark.parametrize(
    "wrong",
    [{"url": "file:///etc/passwd"}, {"url": "javascript://x"}, {"url": ""}, {"url": "http://"},
     {"url": "http://" + "ä" * 70 + ".test/"}, {"url": "http://[::1/"},
     {"url": "http://a.test/" + "x" * 70_000}, {"url": "a.test", "padding": "3MB"},
     {"url": "a.test", "timing": "soon"}, {"url": "a.test", "extras": "pdf"}],
)  # fmt: skip
def test_a_wrong_argument_is_the_users_error(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        arguments(**wrong)


# --- the answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", sorted(SIZE_SETS))
@pytest.mark.parametrize("piece", [7, 1000, 10**8])
async def test_an_answer_is_read_in_whatever_pieces_it_comes(padding: str, piece: int) -> None:
    answer = whole(PAGE, padding)
    piece = max(piece, len(answer) // 50_000)
    assert await read_pack(stream(answer, piece), padding) == PAGE


@pytest.mark.parametrize(
    "answer",
    [b"", b"x" * 15, b"not a pack" * 100, whole(PAGE, "x2")[:-1], whole(PAGE, "x2") + b"\0",
     whole(PAGE, "none")],
)  # fmt: skip
async def test_anything_else_is_the_boxs_fault(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="did not send a page pack"):
        await read_pack(stream(answer, 10**8), "x2")


class Endless:
    """`begin`, then zeros for ever; counts what is taken of them."""

    def __init__(self, begin: bytes) -> None:
        self.begin = begin
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.begin
        while True:
            self.taken += 1 << 20
            yield bytes(1 << 20)


async def test_an_answer_is_there_with_its_last_byte_whatever_follows() -> None:
    endless = Endless(whole(PAGE, "x2"))
    assert await read_answer(endless) == (PAGE, 256 * KIB)
    assert endless.taken == 0


async def test_an_endless_answer_is_left_early() -> None:
    endless = Endless(HEADER.pack(MAGIC, MAX_ANSWER_BYTES - HEADER.size))
    with pytest.raises(RemoteProtocolError, match="larger than any pack"):
        await read_pack(endless, "1MB")
    assert endless.taken <= 129 << 20


def test_a_failure_is_the_functions_error_in_its_own_words() -> None:
    check(PAGE)
    with pytest.raises(FunctionError, match="refused the connection"):
        check(Pack(url=PAGE.url, failure=Failure("refused", "the server refused the connection")))
    with pytest.raises(FunctionError, match="error page is in the pack"):
        check(Pack(url=PAGE.url, failure=Failure("http", "the server answered with 404")))


# --- saving --------------------------------------------------------------------------------------


def test_a_page_is_saved_as_an_archive_a_document_and_a_picture(tmp_path: Path) -> None:
    paths = save(PAGE, tmp_path / "new" / "folder")
    assert [p.name for p in paths] == ["page.warc", "page.mhtml", "page.png"]
    with paths[0].open("rb") as file:
        assert [r.rec_type for r in ArchiveIterator(file)] == [
            "warcinfo", "response", "request", "metadata",
        ]  # fmt: skip
    assert b"A page" in paths[1].read_bytes()
    with Image.open(paths[2]) as image:
        assert image.size == (1280, 1024)


def test_the_boxs_own_parts_are_taken_only_where_none_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = replace(PAGE, mhtml=b"another page", picture=b"another picture")
    assert b"another" not in b"".join(p.read_bytes() for p in save(page, tmp_path))
    monkeypatch.setattr(replay, "available", lambda: False)
    saved = [p.read_bytes() for p in save(page, tmp_path)]
    assert saved[1:] == [b"another page", b"another picture"]


def test_a_page_that_hangs_is_saved_as_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = replace(LIMITS, page_seconds=1, stretch_seconds=1, extras_seconds=1)
    monkeypatch.setattr(replay, "Replay", partial(replay.Replay, limits=impatient))
    spin = replace(PAGE.exchanges[0], body=b"<!doctype html><script>for(;;);</script>")
    paths = save(replace(PAGE, exchanges=(spin,)), tmp_path)
    assert [p.name for p in paths] == ["page.warc"]


def test_a_failure_is_saved_as_an_archive_that_tells_it(tmp_path: Path) -> None:
    (path,) = save(Pack(url=PAGE.url, failure=Failure("refused", "nobody there")), tmp_path)
    assert b"failure: refused: nobody there" in path.read_bytes()


def test_without_a_chromium_the_archive_is_saved_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "available", lambda: False)
    assert [p.name for p in save(PAGE, tmp_path)] == ["page.warc"]


def test_a_folder_that_cannot_be_written_is_the_hosts_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(replay, "available", lambda: False)
    with pytest.raises(HostError, match="cannot be saved"):
        save(PAGE, tmp_path / "file")


def test_the_functions_hash_is_that_of_its_upload() -> None:
    assert len(hashlib.sha256(build_upload()).hexdigest()) == 64
