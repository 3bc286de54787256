"""The measurement is the same everywhere for the same files and changes with any of them; the
libraries can be given to a sandbox that cannot read this installation.
"""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.conclave import runtime
from bento.errors import HostError

PARTS = st.dictionaries(st.text(max_size=20), st.binary(max_size=40), max_size=6)


@given(PARTS, PARTS)
def test_different_parts_have_different_measurements(one, two):
    assert (runtime.measure(one) == runtime.measure(two)) == (one == two)


@given(PARTS)
def test_the_order_of_parts_does_not_matter(parts):
    assert runtime.measure(dict(reversed(parts.items()))) == runtime.measure(parts)


def test_the_measurement_never_changes():
    """A vector for whoever repeats a published measurement."""
    expected = hashlib.sha256(
        b"bento runtime v1\0" + b"\0" * 7 + b"\1a" + b"\0" * 7 + b"\2bc"
    ).digest()
    assert runtime.measure({"a": b"bc"}) == expected


def test_a_comment_in_a_guest_module_is_another_runtime():
    parts = runtime.sources()
    assert set(parts) == set(runtime.GUEST_MODULES)
    altered = {**parts, "bento.conclave.storage": parts["bento.conclave.storage"] + b"\n# operator"}
    assert runtime.measure(parts) != runtime.measure(altered)


def test_libraries_are_measured_without_the_installers_own_files():
    parts = runtime.libraries()
    assert any(name.startswith("cryptography/hazmat/") and name.endswith(".so") for name in parts)
    assert any(name.startswith("_cffi_backend") for name in parts)
    assert not any("RECORD" in name or "__pycache__" in name for name in parts)


def test_published_runtimes_are_what_this_installation_runs():
    (name,) = runtime.published({"more": b"guest code"})
    assert name == runtime.runtime_id(runtime.measurement({"more": b"guest code"}))
    assert runtime.published() != runtime.published({"more": b"guest code"})


def test_the_guests_list_is_closed():
    """What the listed modules import of this room is listed too."""
    code = (
        f"import sys\nfor name in {runtime.GUEST_MODULES!r}: __import__(name)\n"
        "print(sorted(m for m in sys.modules if m.startswith('bento.conclave.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) == set(runtime.GUEST_MODULES)


def test_exported_libraries_give_debians_python_a_post_quantum_channel(tmp_path):
    tmp_path.chmod(0o755)
    folder = runtime.export_libraries(tmp_path)
    assert runtime.export_libraries(tmp_path) == folder
    assert os.listdir(tmp_path) == [folder.name]
    for path in folder.rglob("*"):
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted
    source = str(Path(runtime.__file__).parents[2])
    script = (
        f"import sys; sys.dont_write_bytecode = True\nsys.path[:0] = [{source!r}, {str(folder)!r}]\n"
        "from bento.conclave.channel_guest import GuestChannel\n"
        "from bento.conclave.tls import Credential, Tls\n"
        "guest, tls = GuestChannel(Credential(), b'box', bytes(32)), Tls()\n"
        "tls.start()\n"
        "while not tls.established:\n"
        "    guest.receive(tls.outgoing())\n"
        "    tls.feed(guest.outgoing())\n"
        "print(tls.group)\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert "MLKEM" in done.stdout


def test_libraries_that_cannot_be_copied_are_a_plain_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot be copied"):
        runtime.export_libraries(tmp_path / "file")


def test_a_missing_library_is_a_plain_error(monkeypatch):
    monkeypatch.setattr(runtime, "LIBRARIES", ("no-such-library",))
    with pytest.raises(HostError, match="not installed"):
        runtime.libraries()


def test_the_gramine_manifest_gives_the_operator_nothing_to_choose():
    text = runtime.gramine_manifest()
    assert "UNTESTED ON HARDWARE" in text
    for line in ("sgx.debug = false", 'sgx.remote_attestation = "dcap"'):
        assert line in text
    assert "insecure__" not in text
    assert "allowed_files" not in text
