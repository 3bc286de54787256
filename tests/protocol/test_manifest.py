"""A manifest is read strictly, with every mistake named at once."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import UsageError
from bento.protocol.manifest import (
    Manifest,
    amended,
    manifest_text,
    read_size,
    read_time,
    show_size,
)

MIB = 1 << 20


def test_a_function_without_a_block_asks_for_little():
    manifest = Manifest.parse(manifest_text(b"def main(api): pass"))
    assert manifest == Manifest()
    assert (manifest.image, manifest.memory, manifest.egress) == ("python", 64 * MIB, ())


def test_every_entry_is_read():
    text = """
    image = "browser"
    memory = "1 GiB"
    cpu = 2
    disk = 1048576
    pids = 100
    lifetime = "2h"
    egress = ["*:443", "example.com:80"]
    spool = "8 MiB"
    """
    manifest = Manifest.parse(text)
    assert manifest == Manifest(
        "browser", 1024 * MIB, 2.0, MIB, 100, 7200, ("*:443", "example.com:80"), 8 * MIB
    )


def test_a_chromium_starts_only_in_an_image_that_has_one():
    assert Manifest.parse('image = "browser"\nchromium = true').chromium
    assert Manifest.parse('image = "browser"\nchromium = true\nconclave = true').chromium
    with pytest.raises(UsageError, match="the image 'python' has none, 'browser' has"):
        Manifest.parse("chromium = true")
    with pytest.raises(UsageError, match="write true"):
        Manifest.parse('image = "browser"\nchromium = "--no-sandbox"')


def test_relays_is_true_or_false_and_nothing_else():
    assert Manifest.parse("relays = true").relays and Manifest.parse("relays = true").network
    assert not Manifest.parse("relays = false").relays and not Manifest.parse("").network
    for value in ('"true"', "1", '["*:9001"]'):
        with pytest.raises(UsageError, match="write true for a function that connects"):
            Manifest.parse(f"relays = {value}")


def test_the_block_stands_in_comments():
    source = b"#!/usr/bin/python3\n# /// bento\n# memory = 1024\n#\n# cpu = 1\n# ///\ndef main(api): pass\n"
    assert manifest_text(source) == "memory = 1024\n\ncpu = 1"


def test_the_block_of_a_zip_is_in_its_main():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", "# /// bento\n# pids = 5\n# ///\n")
    assert manifest_text(buffer.getvalue()) == "pids = 5"


@pytest.mark.parametrize(
    ("upload", "said"),
    [
        (b"# /// bento\n# pids = 1\n", "not closed"),
        (b"# /// bento\nimport os\n# ///", "not closed"),
        (b"\xff\xfe", "neither UTF-8"),
        (b"PK\x03\x04 no zip at all", "zip cannot be read"),
    ],
)
def test_a_bad_upload_is_one_sentence(upload, said):
    with pytest.raises(UsageError, match=said):
        manifest_text(upload)


def test_a_zip_without_a_main_is_told():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("other.py", "")
    with pytest.raises(UsageError, match="no __main__"):
        manifest_text(buffer.getvalue())


def test_every_mistake_is_named_at_once():
    text = 'memory = "lots"\ncpu = true\npids = 0\negress = "*:80"\nlifetime = "1 week"\nfoo = 1\nimage = "X"\nspool = "64 KiB"'
    text += "\nboxes = 65\nlease = '11m'"
    with pytest.raises(UsageError) as caught:
        Manifest.parse(text)
    for word in ("memory", "cpu", "pids", "egress", "lifetime", "foo", "image", "boxes", "lease"):
        assert word in caught.value.detail


@given(st.text(max_size=300))
def test_any_text_is_a_manifest_or_a_usage_error(text):
    try:
        Manifest.parse(text)
    except UsageError:
        pass


@given(st.binary(max_size=300))
def test_any_bytes_are_an_upload_or_a_usage_error(data):
    for upload in (data, b"PK\x03\x04" + data):
        try:
            manifest_text(upload)
        except UsageError:
            pass


@pytest.mark.parametrize(
    ("text", "size"), [("64 MiB", 64 * MIB), ("1GiB", 1 << 30), (5, 5), ("7 B", 7)]
)
def test_sizes(text, size):
    assert read_size(text) == size
    assert read_size(show_size(size)) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1 MB", "1.5 GiB", "0", True, None, [], "1" * 40, "١"]
)
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError):
        read_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), (3, 3)]
)
def test_times(text, seconds):
    assert read_time(text) == seconds


def test_amended_changes_the_named_entries_and_no_other():
    text = 'memory = "80 MiB"\negress = ["*:80"]\ndisk = 5'
    before, after = Manifest.parse(text), Manifest.parse(amended(text, memory=123, lifetime="2h"))
    assert (after.memory, after.lifetime) == (123, 7200)
    assert (after.disk, after.egress) == (before.disk, before.egress)
