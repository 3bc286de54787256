"""A whole `bentod` as a process of its own, with real sandboxes and no Tor, to be killed and restarted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.tor.fake_tor import FakeTor

from bento.box.identity import Identity, load_or_create
from bento.client.box import Box, BoxName
from bento.client.persistence import PERSISTENCE
from bento.client.route import UnixRoute
from bento.sandbox import cgroup, uids
from bento.sandbox.process import runs, start_time
from bento.testnet.processes import descendants

_CONFIG = """
name = "crash"
state = "{folder}/state"
run = "{folder}/run"
[tor]
relay_control = "unix:{folder}/tor"
[entrance.onion]
[egress]
via = "direct"
test_web = "127.80.0.0/16"
[capacity]
images = ["python"]
pool = 1
instances = 8
"""
_POLICY = "250+exit-policy/full=\r\naccept 127.80.0.0/16:*\r\nreject *:*\r\n.\r\n250 OK"
_HANG_GUARD = 120  # seconds


class ProcessBox:
    """Start it, kill it, start it again. `seen` are all processes that ever belonged to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self.state = folder, folder / "run", folder / "state"
        self.identity = self.make_identity()
        self.config = folder / "bentod.toml"
        self.config.write_text(_CONFIG.format(folder=folder))
        self.log = folder / "log"
        self.persistence = PERSISTENCE  # of clients
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: set[tuple[int, int]] = set()

    def make_identity(self) -> Identity:
        """The box's keys, made if there are none."""
        return load_or_create(self.state)

    @property
    def box(self) -> Box:
        """A client's handle."""
        name = BoxName("crash", "AB" * 20, self.identity.key_hash)
        box = Box(name, UnixRoute(str(self.run / "onion.sock")))
        box.persistence = self.persistence
        return box

    def spawn(self, *launcher: str, **options: object) -> None:
        """Begins to start it, by `launcher` if there is one."""
        (self.run / "ready").unlink(missing_ok=True)
        command = [sys.executable, *(launcher or ("-m", "bento.cli.bentod"))]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, "run", "--config", str(self.config)],
                stderr=log,
                **options,  # type: ignore[call-overload]
            )

    async def start(self, *launcher: str, **options: object) -> float:
        """Starts it; seconds until it was ready."""
        began = time.monotonic()
        self.spawn(*launcher, **options)
        async with asyncio.timeout(_HANG_GUARD):
            while not (self.run / "ready").exists():
                assert self.process is not None
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.005)
        return time.monotonic() - began

    def look(self) -> None:
        """Notes the processes that belong to it now."""
        if self.process is not None:
            for each in descendants(self.process.pid):
                self.seen.add((each.pid, each.start))

    async def end(self, number: signal.Signals) -> None:
        """Sends the signal and waits for its end."""
        assert self.process is not None
        self.look()
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait, _HANG_GUARD)

    def running(self) -> set[int]:
        """Those of its processes that still run."""
        return {pid for pid, started in self.seen if runs(pid, started)}

    def left(self) -> list[str]:
        """What there is of it on this machine outside of its state folder."""
        found = [f"process {pid}" for pid in self.running()]
        found += [f"group {name}" for name in cgroup.left_of(self.run)]
        found += [f"file {path.name}" for path in self.run.iterdir()]
        bound = {f"{pid} {started}" for pid, started in self.seen}
        for path in uids._FOLDER.iterdir():
            with contextlib.suppress(OSError):
                if path.read_text().strip() in bound:
                    found.append(f"user id {path.name}")
        found += [f"mount {line}" for line in _mounts() if str(self.run) in line]
        return found


@contextlib.asynccontextmanager
async def process_box():
    """One that is gone, with all that it started, at the end."""
    with tempfile.TemporaryDirectory(prefix="crash-", dir="/tmp") as folder:
        box = ProcessBox(Path(folder))
        async with FakeTor(Path(folder, "tor")) as tor:
            tor.answers["GETINFO"] = lambda line: (
                _POLICY if "policy" in line else "551 unknown address"
            )
            tor.answers["ADD_ONION"] = f"250-ServiceID={box.identity.onion}\r\n250 OK"
            try:
                yield box
            finally:
                box.look()
                if box.process is not None and box.process.poll() is None:
                    box.process.kill()
                    box.process.wait()
                for pid, started in box.seen:  # what a failed test left
                    with contextlib.suppress(ProcessLookupError):
                        if start_time(pid) == started:
                            os.kill(pid, signal.SIGKILL)


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()
