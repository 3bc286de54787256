"""What a killed bentod leaves running is ended by the next one, and nothing else is."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bento.box import leftovers
from bento.guest import blob
from bento.sandbox import image_named, spawn


async def test_a_sandbox_of_an_earlier_bentod_is_ended():
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        run = Path(folder)
        image = image_named("python")
        sandbox = await spawn(image, image.limits, run, "left", blob.build())
        leftovers.note(run, "left", sandbox.pid)
        (run / "ready").touch()
        await leftovers.sweep(run)
        await sandbox.exited
        assert not os.path.exists(f"/proc/{sandbox.pid}")
        assert list(run.iterdir()) == []
        sandbox.close()


async def test_a_number_that_now_names_another_process_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        leftovers.note(tmp_path, "other", other.pid)
        path = tmp_path / "other.running"
        pid, started = path.read_text().split()
        path.write_text(f"{pid} {int(started) - 1}\n")
        await leftovers.sweep(tmp_path)
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_note_is_removed(tmp_path):
    (tmp_path / "bad.running").write_text("no numbers")
    await leftovers.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
