"""Instances outlive bentod: a restart or an upgrade costs their users nothing. Real processes, no Tor."""

import os
import signal

import pytest
from tests.crash.process_box import process_box
from tests.waiting import until

from bento.errors import BoxError

KEEPER = b"""
# /// bento
# egress = ["*:*"]
# ///
kept = []
def main(api, word=""):
    if word == "connect":
        import socket
        try: socket.create_connection(("127.1.2.3", 80), 5)
        except PermissionError as error: return str(error)
        except OSError as error: return repr(error)
    if word == "wait":
        api.send(b"first ")
        return api.recv() + b" last"
    kept.append(word)
    return " ".join(kept)
"""


@pytest.fixture
async def box():
    async with process_box() as box:
        yield box


async def ask(instance, *words):
    session = await instance.invoke(*words)
    await session.close_input()
    return await session.read()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_an_instance_goes_on_after_a_restart(box, end):
    await box.start()
    instance = await box.box.install(KEEPER)
    assert await ask(instance, "before") == b"before"
    session = await instance.invoke("wait")
    await session.started()
    await session.detach()
    await box.end(end)
    await box.start()
    assert await ask(instance, "after") == b"before after"
    again = await box.box.attach(session.name)
    await again.send(b"middle")
    assert await again.read() == b"first middle last"
    assert b"refused" in await ask(instance, "connect")
    await instance.shutdown()
    with pytest.raises(BoxError, match="no such token"):
        await ask(instance, "gone")


async def test_a_transfer_goes_on_through_a_kill(box):
    await box.start()
    handle = box.box
    instance, session = await handle.run(
        b"def main(api):\n for i in range(100): api.send(bytes([i]) * 60000)"
    )
    got, killed = b"", False
    async for piece in session:
        got += piece
        if len(got) > 1_000_000 and not killed:
            await box.end(signal.SIGKILL)
            await box.start()
            killed = True
    assert got == b"".join(bytes([i]) * 60000 for i in range(100))
    await instance.shutdown()


async def test_sigint_ends_the_instances_too(box):
    await box.start()
    await box.box.install(KEEPER)
    await box.end(signal.SIGINT)
    await until(lambda: box.left() == [])


async def test_what_was_shut_down_stays_so(box):
    await box.start()
    instance = await box.box.install(KEEPER)
    other = await box.box.install(KEEPER)
    await instance.shutdown()
    await box.end(signal.SIGKILL)
    await box.start()
    with pytest.raises(BoxError, match="no such token"):
        await ask(instance, "x")
    assert await ask(other, "x") == b"x"


async def test_an_instance_that_ended_meanwhile_is_forgotten(box):
    await box.start()
    instance = await box.box.install(KEEPER)
    await box.end(signal.SIGTERM)
    sockets = list(box.run.glob("*.sock"))
    assert len(sockets) == 1
    for pid in box.running():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: box.running() == set())
    await box.start()
    with pytest.raises(BoxError, match="no such token"):
        await ask(instance)
    assert not sockets[0].exists()


async def test_a_killed_bentods_unused_sandboxes_leave_no_trace(box):
    await box.start()
    await box.end(signal.SIGKILL)
    await until(lambda: box.running() == set())
    assert box.left() != []  # sockets, control groups: nobody was there to take them away
    await box.start()
    await box.end(signal.SIGINT)
    await until(lambda: box.left() == [])


async def test_a_mute_function_does_not_keep_a_box_from_starting(box):
    await box.start()
    instance = await box.box.install(KEEPER)
    await box.end(signal.SIGTERM)
    [first] = filter(_is_first, box.running())
    os.kill(first, signal.SIGSTOP)
    try:
        await box.start()
        other = await box.box.install(KEEPER)
        assert await ask(other, "x") == b"x"
    finally:
        os.kill(first, signal.SIGCONT)
    assert await ask(instance, "x") == b"x"


def _is_first(pid):
    """Whether it is the first process of a sandbox."""
    status = open(f"/proc/{pid}/status").read()
    return status.split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
