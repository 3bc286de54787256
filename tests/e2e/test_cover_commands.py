"""A command under Cover, over a real Tor network."""

import pytest
from tests.e2e.command import bento
from tests.e2e.web import web_site

pytestmark = pytest.mark.network

FUNCTION = 'def main(api, count: int):\n    api.send(b"".join(api) * count)\n'


def test_a_command_under_cover_does_what_it_does_without(network, tmp_path):
    path = tmp_path / "repeat.py"
    path.write_text(FUNCTION)
    words = ("--rate", "200KB/s", "--end", "now", "--json", "--")
    done = bento("cover", *words, "bento", "run", path, 20, stdin=b"0123456789" * 100)
    assert done.status == 0, done.err
    assert done.out == b"0123456789" * 2000
    said = done.summary
    assert said["status"] == 0
    assert said["sent"] > 50 and said["received"] > 50


def test_a_page_comes_in_parts_under_cover(network, tmp_path):
    page = b"<!doctype html><title>Covered</title><link rel=stylesheet href=/s.css><p>hello"
    with web_site({"/": page, "/s.css": b"p { color: red }"}) as (url, visits):
        words = ("--rate", "400KB/s", "--end", "now", "--")
        done = bento("cover", *words, "bento", "browse", "-o", tmp_path / "page", f"{url}/")
    assert done.status == 0, done.err
    told = [line.split()[1] for line in done.err.splitlines() if line.startswith("200 ")]
    assert told[:2] == [f"{url}/:", f"{url}/s.css:"]
    assert page in (tmp_path / "page" / "page.warc").read_bytes()
    assert {path for _, path in visits} >= {"/", "/s.css"}


def test_without_a_command_junk_goes_both_ways_until_the_end(network):
    done = bento("cover", "--rate", "50 cells/s", "--for", "2s", "--json")
    assert done.status == 0, done.err
    said = done.json
    assert said["cells_per_second"] == 50
    assert said["seconds"] == pytest.approx(2, abs=0.5)
    assert said["sent"] + said["missed"] == pytest.approx(50 * said["seconds"], abs=3)
    assert said["received"] > 20
    assert said["bytes"] == (said["sent"] + said["received"]) * 488


def test_a_command_that_fails_and_one_that_is_not_there_are_told(network):
    failed = bento(
        "cover", "--rate", "100KB/s", "--end", "now", "--", "bento", "run", "/nowhere.py"
    )
    assert failed.status == 2 and "cannot read /nowhere.py" in failed.err
    missing = bento("cover", "--rate", "100KB/s", "--end", "now", "--", "/no/such/program")
    assert missing.status == 2 and "cannot run /no/such/program" in missing.err


def test_wrong_words_are_told_before_anything_is_done():
    for words in (("--rate", "fast"), ("--rate", "1KB/s", "--for", "soon"), ()):
        assert bento("cover", *words).status == 2
