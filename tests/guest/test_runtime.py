"""The guest's runtime, spoken to frame by frame inside a real sandbox."""

import contextlib
import hashlib
import socket
import tempfile
from pathlib import Path

import pytest
from tests.waiting import until

from bento.guest import blob
from bento.protocol import control, limits, session, values
from bento.protocol.wire import encode
from bento.sandbox import image_named, spawn
from bento.sandbox.tree import descendants

OWNER = b"o" * limits.OWNER
INSTALLER = control.opening(control.MAY_INVOKE | control.MAY_ATTACH, control.ANY_SESSION)
NAME = b"s" * limits.SESSION_ID


class Guest:
    """A started guest and the frames of one connection at a time."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.sock = None

    def start(self, code, **terms):
        terms = {
            "function": hashlib.sha256(code).digest(),
            "expires": 60,
            "memory": 1,
            "disk": 2,
            "upload": 1 << 20,
            "spool": 1 << 20,
            "patience": 60,
            "network": False,
            "chromium": False,
        } | terms
        self.sandbox.control.setblocking(True)
        self.sandbox.control.sendall(encode(control.Start(**terms)))

    def connect(self, use=INSTALLER):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.sandbox.socket_path))
        self.sock.sendall(use)
        self.reader = session.client_reader()
        self.pending = []

    def send(self, *messages):
        self.sock.sendall(b"".join(map(encode, messages)))

    def next(self, *skip):
        while True:
            while not self.pending:
                data = self.sock.recv(1 << 16)
                if not data:
                    return None
                self.pending.extend(self.reader.feed(data))
            message = self.pending.pop(0)
            if not isinstance(message, skip):
                return message

    def until(self, kind):
        while not isinstance(message := self.next(), kind | None):
            pass
        return message

    def load(self, code, owner=OWNER):
        self.send(session.Load(len(code), 0, owner), session.Code(code))

    def invoke(self, *args, name=NAME, **kwargs):
        arguments = values.encode_values([list(args), kwargs])
        self.send(session.Invoke(name, arguments, False, OWNER))


@contextlib.asynccontextmanager
async def guest_of(image_name):
    # A unix socket's path has at most 107 bytes.

    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        image = image_named(image_name)
        sandbox = await spawn(image, image.limits, Path(folder), "guest", blob.build())
        made = Guest(sandbox)
        yield made
        if made.sock:
            made.sock.close()
        await sandbox.kill()
        sandbox.close()


@pytest.fixture
async def guest():
    async with guest_of("python") as made:
        yield made


async def test_everything_in_one_piece_is_answered_in_order(guest):
    code = b"def main(api):\n api.send(b'hi ')\n api.send(api.recv())"
    guest.start(code)
    guest.connect()
    guest.load(code)
    guest.invoke()
    guest.send(session.Data(0, b"input"), session.Eof(5))
    kinds = []
    while not isinstance(message := guest.next(), session.End):
        kinds.append(type(message).__name__)
    assert kinds[0] == "Loading"
    assert [k for k in kinds if k == "Data"] == ["Data", "Data"]
    assert (message.offset, message.failed) == (8, False)
    guest.send(session.Bye())
    assert guest.next() is None


CHROMIUM = b"""
import os
def main(api):
    chromium = api.chromium()
    os.write(chromium.writer, b'{"id": 1, "method": "Browser.getVersion"}\\0')
    api.send(f"{chromium.pid} {os.read(chromium.reader, 8000)}")
"""


def is_chromium(pid):
    with contextlib.suppress(OSError):  # it is gone
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/usr/lib/chromium/")


async def test_a_chromium_starts_while_the_code_is_on_its_way():
    async with guest_of("browser") as guest:
        guest.start(CHROMIUM, chromium=True)
        await until(lambda: any(map(is_chromium, descendants(guest.sandbox.pid))))
        guest.connect()
        guest.load(CHROMIUM)
        guest.invoke()
        assert b'"product":"Chrome/' in guest.until(session.Data).data


async def test_without_the_manifests_line_there_is_no_chromium_to_drive(guest):
    guest.start(CHROMIUM)
    guest.connect()
    guest.load(CHROMIUM)
    guest.invoke()
    assert "may not use a Chromium" in guest.until(session.End).detail


async def test_code_byte_by_byte_is_the_same_code(guest):
    code = b"def main(api): return 'x'"
    guest.start(code)
    guest.connect()
    guest.send(
        session.Load(len(code), 0, OWNER),
        *(session.Code(code[i : i + 1]) for i in range(len(code))),
    )
    assert isinstance(guest.until(session.Loaded), session.Loaded)


async def test_an_upload_goes_on_where_it_was_cut(guest):
    code = b"def main(api): return 'whole'" + b"#" * 1000
    guest.start(code)
    guest.connect()
    guest.send(session.Load(len(code), 0, OWNER), session.Code(code[:500]))
    assert guest.next().received == 0
    guest.sock.close()
    guest.connect()
    guest.send(session.Load(len(code), 500, OWNER), session.Code(code[500:]))
    assert guest.next().received == 500
    guest.invoke()
    assert guest.until(session.Data).data == b"whole"


async def test_invoking_twice_by_the_same_name_runs_once(guest):
    code = b"runs = 0\ndef main(api):\n global runs\n runs += 1\n api.send(str(runs)); api.recv()"
    guest.start(code)
    guest.connect()
    guest.load(code)
    guest.invoke()
    assert guest.until(session.Data).data == b"1"
    guest.connect()
    guest.invoke()
    assert guest.until(session.Data).data == b"1"


@pytest.mark.parametrize(
    "messages",
    [
        [session.Data(0, b"x")],
        [session.Ack(0)],
        [session.Code(b"x")],
        [session.Load(10, 5, OWNER)],
        [session.Load(0, 0, OWNER)],
        [session.Load(1 << 30, 0, OWNER)],
        [session.Load(3, 0, OWNER), session.Code(b"xxxx")],
        [session.Attach(NAME, 0, b"")],
        [session.Invoke(NAME, b"garbage", False, b"")],
        [session.Invoke(NAME, values.encode_values([1, 2]), False, b"")],
    ],
    ids=lambda messages: "-".join(type(m).__name__ for m in messages),
)
async def test_a_client_that_breaks_the_rules_is_told_and_closed_alone(guest, messages):
    code = b"def main(api): return 'alive'"
    guest.start(code)
    guest.connect()
    guest.send(*messages)
    failed = guest.until(session.Failed)
    assert failed.detail
    guest.sock.shutdown(socket.SHUT_WR)
    assert guest.next() is None
    guest.connect()
    guest.load(code)
    guest.invoke()
    assert guest.until(session.Data).data == b"alive"


async def test_more_input_than_the_window_is_refused(guest):
    code = b"def main(api):\n import time; time.sleep(600)"
    guest.start(code)
    guest.connect()
    guest.load(code)
    guest.invoke()
    chunk = bytes(limits.CHUNK)
    for i in range(limits.WINDOW // limits.CHUNK + 1):
        guest.send(session.Data(i * limits.CHUNK, chunk))
    assert "window" in guest.until(session.Failed).detail


async def test_garbage_and_unknown_uses_close_the_connection_alone(guest):
    code = b"def main(api): return 'alive'"
    guest.start(code)
    for use, garbage in (
        (b"X", b""),
        (INSTALLER, b"\xff" * 100),
        (control.CONTROL, b"\xff" * 100),
    ):
        guest.connect(use)
        with contextlib.suppress(OSError):  # it may have closed already
            guest.sock.sendall(garbage)
            guest.sock.shutdown(socket.SHUT_WR)
            while guest.sock.recv(1 << 16):
                pass
    guest.connect()
    guest.load(code)
    guest.invoke()
    assert guest.until(session.Data).data == b"alive"


async def test_a_guest_that_was_never_started_ends_with_its_box(guest):
    guest.sandbox.control.close()
    await guest.sandbox.exited


async def test_a_started_guest_lives_on_and_greets_the_next_box(guest):
    code = b"def main(api): return 'still here'"
    guest.start(code)
    guest.connect()
    guest.load(code)
    guest.until(session.Loaded)
    guest.sandbox.control.close()
    again = socket.socket(socket.AF_UNIX)
    again.connect(str(guest.sandbox.socket_path))
    again.sendall(control.CONTROL)
    message, descriptors, _, _ = socket.recv_fds(again, 16, 1)
    assert message == control.READY
    with socket.socket(fileno=descriptors[0]) as listener:
        assert listener.getsockname() == ("127.0.0.1", 1080)
    guest.connect()
    guest.invoke()
    assert guest.until(session.Data).data == b"still here"
    again.close()


async def test_a_blocking_top_level_does_not_block_the_guest(guest):
    code = b"import time\ntime.sleep(600)\ndef main(api): pass"
    guest.start(code)
    guest.connect()
    guest.load(code)
    assert guest.next().received == 0
    guest.connect()
    guest.send(session.Attach(NAME, 0, b""))
    assert "no such session" in guest.until(session.Failed).detail


async def test_the_runtime_starts_with_next_to_nothing_imported(guest):
    code = b"""
import sys
def main(api): return " ".join(sorted(sys.modules))
"""
    guest.start(code)
    guest.connect()
    guest.load(code)
    guest.invoke()
    loaded = set(guest.until(session.Data).data.decode().split())
    heavy = {
        "typing",
        "enum",
        "socket",
        "threading",
        "json",
        "asyncio",
        "dataclasses",
        "re",
        "inspect",
    }
    assert not loaded & heavy


async def test_an_upload_goes_on_on_another_connection_and_only_there(guest):
    code = b"def main(api): return 'whole'" + b"#" * 1000
    guest.start(code)
    guest.connect()
    guest.send(session.Load(len(code), 0, OWNER), session.Code(code[:100]))
    assert guest.next().received == 0
    first = guest.sock
    guest.connect()
    guest.send(session.Load(len(code), session.ANYWHERE, OWNER))
    assert guest.next().received == 100
    first.sendall(encode(session.Code(code[100:])))  # was still under way
    guest.send(session.Code(code[100:]))
    assert isinstance(guest.next(), session.Loaded)
    answer = session.client_reader().feed(first.recv(1 << 16))
    assert isinstance(list(answer)[-1], session.Failed)
    first.close()
    guest.connect()
    guest.send(session.Load(len(code), session.ANYWHERE, OWNER))  # the Loaded was lost
    assert guest.next().received == len(code)
    assert isinstance(guest.next(), session.Loaded)
