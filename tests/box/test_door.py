"""R11 at the door: slow and silent peers keep nobody out, cost bounded memory, and disturb no accepted work."""

import asyncio
import contextlib
import hashlib
import resource
import socket

import pytest
from tests.local_box import local_box
from tests.waiting import until

from bento.box import door as box_door
from bento.box.config import Admission
from bento.errors import BusyError
from bento.protocol.door import Create, Hello, Inquire
from bento.protocol.wire import encode

ECHO = b"def main(api):\n    for piece in api:\n        api.send(piece)\n"
LORIS = 1000  # the issue's own number
HALF_A_FRAME = (60_000).to_bytes(4, "big") + bytes(50_000)


@pytest.fixture(autouse=True, scope="module")
def many_descriptors():
    """This process plays the box and all of its clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def crowd(path, count, first_words):
    """`count` connections that say `first_words` and then nothing, and never read."""
    loop, sockets = asyncio.get_running_loop(), []
    try:
        for _ in range(count):
            one = socket.socket(socket.AF_UNIX)
            sockets.append(one)
            one.setblocking(False)
            await loop.sock_connect(one, str(path))
            with contextlib.suppress(OSError):  # it made room for another one already
                one.send(first_words)
            await asyncio.sleep(0)
        yield sockets
    finally:
        for one in sockets:
            one.close()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    "first_words",
    [b"", b"\0", HALF_A_FRAME, encode(Hello((1,))), encode(Hello((1,))) + HALF_A_FRAME],
    ids=["silent", "one byte", "half a frame", "hello only", "half a request"],
)
async def test_r11_a_thousand_slow_peers_keep_nobody_out(local, first_words):
    instance = await local.box.install(ECHO)
    session = await instance.invoke()
    before = resident()
    async with crowd(local.path, LORIS, first_words):
        assert len(local.door._strangers) <= box_door._STRANGERS
        await local.box.inquire()
        await (await local.box.install(ECHO)).shutdown()
        await session.send(b"still here")
        await session.close_input()
        assert await session.read() == b"still here"
        assert resident() - before < 100 << 20  # 512 frames of 50 kB are 26 MB
    await until(lambda: not local.door._strangers)


async def test_r11_ten_times_too_many_are_all_told_so_and_those_who_are_in_notice_nothing():
    async with local_box(Admission(priced=False), instances=4, pool=0) as local:
        sessions = [(await local.box.run(ECHO))[1] for _ in range(4)]
        request = encode(Hello((1,))) + encode(Create("", hashlib.sha256(ECHO).digest(), b"", b""))
        async with crowd(local.path, 40, request):
            outcomes = []
            for number in range(40):
                impatient = local.box
                impatient.patience = 0
                with pytest.raises(BusyError) as refused:
                    await impatient.install(ECHO)
                outcomes.append(refused.value.wait)
                session = sessions[number % 4]
                await session.send(b"x" * 1000)
            assert all(outcomes)
        for session in sessions:
            await session.close_input()
            assert await session.read() == b"x" * 10_000
        assert len(local.instances) == 4


async def test_clients_that_never_read_are_refused_without_being_waited_for(local, monkeypatch):
    monkeypatch.setattr(box_door, "_KNOCK_SECONDS", 0.3)
    monkeypatch.setattr(box_door, "_LINGER_SECONDS", 0.3)
    wrong = encode(Hello((1,))) + encode(Inquire()) * 4000  # far more than is read of it
    async with crowd(local.path, 50, wrong):
        await local.box.inquire()
        await until(lambda: not local.door._tasks)


async def test_an_instance_has_a_bounded_number_of_connections(local, monkeypatch):
    monkeypatch.setattr("bento.box.visits._PIPES", 3)
    instance = await local.box.install(ECHO)
    await until(lambda: not next(iter(local.instances)).relays)
    for _ in range(3):
        await (await instance.invoke()).started()
    with pytest.raises(BusyError, match="3 connections already") as refused:
        await instance.invoke()
    assert refused.value.wait > 0
