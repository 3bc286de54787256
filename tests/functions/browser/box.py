"""A stand-in for the box: the function's upload, run as a box runs it, behind a real SOCKS proxy.

The function is in bubblewrap with a network namespace of its own; the only thing that leads out is
the listener 127.0.0.1:1080 inside it, which is handed to a proxy here by descriptor.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bento.functions.browser.client import build_upload
from bento.functions.uploads import archived
from bento.guest import chromium

GUEST_UID = 299_998

# Runs inside: the listener, then what the guest runtime does with an upload and its arguments.
INSIDE = r"""
import array, json, os, runpy, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
listener = socket.create_server(("127.0.0.1", 1080))
rights = array.array("i", [listener.fileno()])
channel.sendmsg([b"L"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
sys.path[:0] = ["/tmp/function.zip", "/tmp/guest.zip", "/usr/lib/python3/dist-packages"]
sends = []
class Api:
    def send(self, data):
        sends.append((time.monotonic() - called, len(data)))
        channel.sendall(data)
    def chromium(self):
        return chromium.Supply().take()
call = json.loads(sys.argv[2])
from dataclasses import replace
from bento.guest import chromium
from browser import guest
guest.LIMITS = replace(guest.LIMITS, **call["limits"])
chromium.HEADLESS += tuple(call["flags"])
main = runpy.run_path("/tmp/function.zip")["main"]
called = time.monotonic()
main(Api(), **call["arguments"])
channel.shutdown(socket.SHUT_WR)
left = [name for name in os.listdir("/tmp") if name.startswith("chromium-")]
until = time.monotonic() + 10
while True:  # a killed process takes a moment to be gone
    running = [pid for pid in os.listdir("/proc") if pid.isdigit()]
    if len(running) <= 2 or time.monotonic() > until:
        break
    time.sleep(0.02)
ahead = guest.warm_up(call["arguments"].get("padding", "x2"))
while ahead > 0:
    ahead -= sends.pop(0)[1]
report = {"began": sends[0][0], "profiles": len(left), "processes": len(running)}
os.write(2, b"\n" + json.dumps(report).encode())
"""

RUNTIME = {
    "bento/__init__.py": "",
    "bento/guest/__init__.py": "",
    "bento/guest/chromium.py": Path(chromium.__file__).read_text(),
}
"""What the function imports of the runtime around it."""

JAIL = (
    *("bwrap", "--unshare-all", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
    *("--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--ro-bind", "/etc/fonts", "/etc/fonts", "--proc", "/proc", "--dev", "/dev"),
    *("--size", "536870912", "--tmpfs", "/tmp", "--chdir", "/tmp"),
)


@dataclass
class Run:
    """What came of one call of the function."""

    answer: bytes = b""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """What the proxy was asked for."""
    status: int = 0
    complaints: str = ""
    """What it wrote on its stderr, but for the last line, which is `report`."""
    began: float = 0.0
    """Seconds from the call of `main` to the answer's first byte after its warm-up."""
    profiles: int = 0
    """Chromium profiles that are left in the sandbox."""
    processes: int = 0
    """Processes that are left there: bubblewrap's own, and the function's."""


class Proxy:
    """SOCKS5, CONNECT only, on a listener of another namespace; 127.80.0.0/16 is its whole web."""

    REFUSED = {"name.test": 4, "policy.test": 2, "refused.test": 5, "slow.test": 6}

    def __init__(self, listener: socket.socket) -> None:
        self.asked: list[tuple[str, int]] = []
        self._listener = listener
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _one(self, client: socket.socket) -> None:
        with client, suppress(OSError, IndexError, struct.error):
            with client.makefile("rb") as stream:
                stream.read(stream.read(2)[1])
                client.sendall(b"\5\0")
                by_name = stream.read(4)[3] == 3
                name = stream.read(stream.read(1)[0] if by_name else 4)
                host = name.decode() if by_name else socket.inet_ntoa(name)
                (port,) = struct.unpack(">H", stream.read(2))
            self.asked.append((host, port))
            reply, server = self._connect(host, port)
            client.sendall(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
            if server:
                with server:
                    threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                    _pump(client, server)

    def _connect(self, host: str, port: int) -> tuple[int, socket.socket | None]:
        if not host.startswith("127.80."):
            return self.REFUSED.get(host, 2), None
        try:
            return 0, socket.create_connection((host, port), timeout=10)
        except OSError:
            return 5, None


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        source.settimeout(None)
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Running:
    """A call under way."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: socket.socket) -> None:
        self.process = process
        self._channel = channel
        channel.settimeout(300)
        _, fds, _, _ = socket.recv_fds(channel, 1, 1)
        self._proxy = Proxy(socket.socket(fileno=fds[0]))

    def result(self) -> Run:
        run = Run(asked=self._proxy.asked)
        pieces = []
        while data := self._channel.recv(1 << 20):
            pieces.append(data)
        run.answer = b"".join(pieces)
        _, errors = self.process.communicate(timeout=60)
        run.complaints, _, report = errors.decode().rpartition("\n")
        for name, value in json.loads(report).items():
            setattr(run, name, value)
        run.status = self.process.returncode
        return run

    def close(self) -> None:
        self._proxy.close()
        self._channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def kill(self, kind: str) -> None:
        """Waits for a Chromium process of that kind to be there, and kills it."""
        until = time.monotonic() + 60
        while not (pids := [p for p in descendants(self.process.pid) if kind_of(p) == kind]):
            assert time.monotonic() < until, f"no {kind} process came up"
            time.sleep(0.05)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found


def kind_of(pid: int) -> str:
    """Which of Chromium's processes it is: browser, renderer, ...; "" for another program."""
    with suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if line.startswith("/usr/lib/chromium/chromium"):
            return re.split("[ \0]", line.partition("--type=")[2])[0] or "browser"
    return ""


@contextmanager
def calling(
    url: str,
    *,
    limits: Mapping[str, float] | None = None,
    flags: tuple[str, ...] = (),
    **arguments: str,
) -> Iterator[Running]:
    """The function, called; as a box would call it."""
    call = {"arguments": {"url": url, **arguments}, "limits": limits or {}, "flags": flags}
    with TemporaryDirectory(prefix="browser-test-") as folder:
        Path(folder).chmod(0o755)
        upload = Path(folder, "function.zip")
        upload.write_bytes(build_upload())
        runtime = Path(folder, "guest.zip")
        runtime.write_bytes(archived(RUNTIME))
        inside = Path(folder, "inside.py")  # no argument: those are searched for conclaves' secrets
        inside.write_text(INSIDE)
        ours, theirs = socket.socketpair()
        as_root = os.geteuid() == 0
        drop = ("setpriv", f"--reuid={GUEST_UID}", f"--regid={GUEST_UID}", "--clear-groups")
        with theirs:
            process = subprocess.Popen(
                [
                    *(drop if as_root else ()), *JAIL,
                    "--ro-bind", str(upload), "/tmp/function.zip",
                    "--ro-bind", str(runtime), "/tmp/guest.zip",
                    "--ro-bind", str(inside), "/tmp/inside.py",
                    "/usr/bin/python3", "-I", "-S", "/tmp/inside.py",
                    str(theirs.fileno()), json.dumps(call),
                ],
                pass_fds=[theirs.fileno()],
                env={"PATH": "/usr/bin:/bin", "HOME": "/tmp"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )  # fmt: skip
        running = Running(process, ours)
        try:
            yield running
        finally:
            running.close()


def call(
    url: str,
    *,
    limits: Mapping[str, float] | None = None,
    flags: tuple[str, ...] = (),
    **arguments: str,
) -> Run:
    """The function, called and answered."""
    with calling(url, limits=limits, flags=flags, **arguments) as running:
        return running.result()
