"""The life of an instance, from install to the moment nothing of it is left. Real sandboxes, no Tor."""

import asyncio
import os
import textwrap
import time

import pytest
from tests.local_box import local_box
from tests.sandbox.leftovers import Traces, is_running
from tests.waiting import until

from bento.box import instances
from bento.client.upload import Upload
from bento.errors import BoxError, BusyError, FunctionError, PolicyError, UsageError
from bento.protocol import limits
from bento.protocol.session import Load
from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket
from bento.protocol.wire import encode
from bento.sandbox.tree import descendants

ECHO = b"""
def main(api, greeting: str = "", times: int = 1):
    api.send(greeting * times)
    for piece in api:
        api.send(piece)
"""

SLOW = b"""
import time
def main(api):
    api.send(b"first ")
    while not api.poll(60):
        pass
    api.send(api.recv())
    return b" last"
"""


def function(body: str, manifest: str = "") -> bytes:
    lines = [f"# {line}" for line in manifest.splitlines()]
    head = ["# /// bento", *lines, "# ///"] if manifest else []
    return "\n".join([*head, textwrap.dedent(body)]).encode()


async def answer(session, data=b""):
    if data:
        await session.send(data)
    await session.close_input()
    return await session.read()


async def test_install_invoke_shutdown(local):
    instance = await local.box.install(ECHO)
    assert await answer(await instance.invoke("hi ", times=2), b"there") == b"hi hi there"
    assert await answer(await instance.invoke(), b"again") == b"again"
    pid = next(iter(local.instances)).sandbox.pid
    await instance.shutdown()
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(BoxError, match="no such token"):
        await instance.invoke()
    with pytest.raises(BoxError, match="no such token"):
        await instance.shutdown()


async def test_run_is_install_and_invoke_in_one(local):
    instance, session = await local.box.run(ECHO, "x", times=3)
    assert await answer(session) == b"xxx"
    await instance.shutdown()


async def test_a_shutdown_token_does_not_invoke_and_an_invocation_token_does_not_end(local):
    instance = await local.box.install(ECHO)
    invoke = Ticket(instance.ticket.box, instance.shutdown_ticket.token)
    with pytest.raises(BoxError, match="does not allow this"):
        await local.box.instance(invoke).invoke()
    end = ShutdownTicket(instance.ticket.box, instance.ticket.token)
    with pytest.raises(BoxError, match="does not allow this"):
        await local.box.shutdown(end)
    assert len(local.instances) == 1


async def test_the_box_keeps_no_token(local):
    instance = await local.box.install(ECHO)
    kept = next(iter(local.instances))
    tokens = (instance.ticket.token.seal, instance.shutdown_ticket.token.seal)
    assert all(token.hex() not in repr(vars(kept)) for token in tokens)
    for folder, _, names in os.walk(local.config.run.parent):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                data = open(path, "rb").read()
                assert not any(token in data or token.hex().encode() in data for token in tokens)


async def test_a_session_outlives_its_connection(local):
    instance = await local.box.install(SLOW)
    session = await instance.invoke()
    await session.started()
    await session.detach()
    again = await local.box.attach(session.name)
    await again.send(b"middle")
    assert await again.read() == b"first middle last"
    with pytest.raises(BoxError, match="no such session"):
        await (await local.box.attach(session.name)).read()


async def test_a_session_goes_on_where_its_reader_stopped(local):
    source = b"def main(api):\n for i in range(40): api.send(bytes([i]) * 50000)"
    expected = b"".join(bytes([i]) * 50000 for i in range(40))
    instance = await local.box.install(source)
    session = await instance.invoke()
    got = b""
    for _ in range(30):
        async for piece in session:
            got += piece
            break
        if len(got) >= len(expected):
            break
        await session.detach()
        session = await local.box.attach(session.name, len(got))
    got += await session.read()
    assert got == expected


async def test_a_session_taken_over_leaves_the_first_client_with_an_error(local):
    instance = await local.box.install(SLOW)
    first = await instance.invoke()
    await first.started()
    second = await local.box.attach(first.name)
    with pytest.raises(BoxError, match="another client"):
        await first.read()
    assert await answer(second, b"x") == b"first x last"


async def test_somebody_elses_session_name_opens_nothing(local):
    instance = await local.box.install(SLOW)
    session = await instance.invoke()
    await session.started()
    name = session.name
    guess = SessionTicket(name.box, name.token, b"g" * limits.SESSION_ID, name.owner)
    with pytest.raises(BoxError, match="no such session"):
        await (await local.box.attach(guess)).read()


async def test_a_detached_function_is_held_back_by_its_spool(local):
    source = function(
        """
        sent = 0
        def main(api):
            global sent
            for i in range(100):
                api.send(bytes(65536))
                sent += 65536
        def count(): return sent
        """,
        'spool = "1 MiB"',
    )
    source += b"\n_main = main\ndef main(api, what='go'):\n if what == 'go': return _main(api)\n return str(sent)\n"
    instance = await local.box.install(source)
    session = await instance.invoke()
    await session.started()
    await session.detach()
    await asyncio.sleep(0.5)
    sent = int(await answer(await instance.invoke("count")))
    assert 0 < sent <= (1 << 20) + 65536
    again = await local.box.attach(session.name, 0)
    assert len(await again.read()) == 6553600


async def test_a_16_mib_function_arrives(local):
    source = function("def main(api): return str(len(PADDING))", 'memory = "256 MiB"')
    source += b"\nPADDING = '" + b"x" * (16 << 20) + b"'\n"
    instance = await local.box.install(source)
    assert await answer(await instance.invoke()) == str(16 << 20).encode()


async def test_an_upload_over_the_policy_is_refused_with_both_numbers():
    async with local_box(upload="1 MiB") as local:
        with pytest.raises(UsageError, match="takes at most 1048576"):
            await local.box.install(b"#" * ((1 << 20) + 1))


async def test_200_mb_pass_in_bounded_memory(local):
    source = b"def main(api):\n b = bytes(1 << 20)\n for _ in range(200): api.send(b)"
    instance, session = await local.box.run(source)
    kept = next(iter(local.instances))
    size = peak = 0
    async for piece in session:
        size += len(piece)
        peak = max(peak, kept.sandbox.usage().memory)
    assert size == 200 << 20
    assert peak < 64 << 20


async def test_a_manifest_beyond_the_policy_is_refused_item_by_item(local):
    source = function(
        "def main(api): pass",
        'image = "browser"\nmemory = "100 GiB"\ncpu = 60\ndisk = "9 GiB"\npids = 4000\nlifetime = "99d"',
    )
    with pytest.raises(PolicyError) as caught:
        await local.box.install(source)
    for item in ("image", "memory", "cpu", "disk", "pids", "lifetime"):
        assert item in caught.value.detail
    assert len(local.instances) == 0


async def test_an_instance_ends_at_its_expiry_at_the_latest(local, monkeypatch):
    instance = await local.box.install(ECHO)
    kept = next(iter(local.instances))
    assert instance.expires == kept.expires
    kept.expires = 0
    task = asyncio.create_task(local.instances._watch(kept))
    await task
    assert len(local.instances) == 0
    assert not os.path.exists(f"/proc/{kept.sandbox.pid}")


async def test_a_lifetime_ends_by_itself_and_takes_everything_along(local, monkeypatch):
    """Daemons, files, the tokens, the box's own memory of it. (Expiries are whole minutes otherwise.)"""
    monkeypatch.setattr(instances, "_MINUTE", 1)
    source = b"""
# /// bento
# lifetime = "4s"
# ///
import os, time
open("/tmp/file", "wb").write(bytes(1 << 20))
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
def main(api): pass
"""
    instance = await local.box.install(source)
    (kept,) = local.instances
    traces, pids = Traces(kept.sandbox), list(descendants(kept.sandbox.pid))
    assert len(pids) >= 4
    assert kept.expires == instance.expires
    await until(lambda: traces.left == [])
    assert time.time() >= instance.expires
    await until(kept.ending.done)
    assert not [pid for pid in pids if is_running(pid)]
    assert list(local.instances) == []
    assert await local.journal.entries() == []
    with pytest.raises(BoxError, match="no such token"):
        await instance.invoke()


async def test_a_function_that_ends_itself_leaves_nothing(local):
    instance = await local.box.install(b"import os\ndef main(api): os._exit(0)")
    with pytest.raises(BoxError):
        await answer(await instance.invoke())
    while len(local.instances):
        await asyncio.sleep(0.02)
    assert len(local.instances) == 0


async def test_a_full_box_says_so():
    async with local_box(instances=1) as local:
        await local.box.install(ECHO)
        impatient = local.box
        impatient.patience = 0
        with pytest.raises(BusyError, match="the box is full"):
            await impatient.install(ECHO)


async def test_an_instance_has_one_owner(local):
    instance = await local.box.install(b"def main(api): 1/0")
    with pytest.raises(FunctionError, match="ZeroDivisionError") as mine:
        await answer(await instance.invoke())
    assert "1/0" in "".join(mine.value.__notes__)
    stranger = local.box.instance(instance.ticket)
    with pytest.raises(FunctionError, match="ZeroDivisionError") as theirs:
        await answer(await stranger.invoke())
    assert not getattr(theirs.value, "__notes__", [])


async def test_logs_and_prints_go_to_the_owner_alone(local):
    instance = await local.box.install(b"def main(api):\n api.log('logged'); print('printed')")
    lines = []
    await answer(await instance.invoke(on_log=lines.append))
    assert lines == ["logged", "printed"]
    lines.clear()
    await answer(await local.box.instance(instance.ticket).invoke(on_log=lines.append))
    assert lines == []


async def test_code_that_is_not_the_announced_function_is_not_run(local):
    instance, pipe, _ = await local.box._create(ECHO, None)
    other = Upload(ECHO.replace(b"greeting", b"greetinG"), instance.owner)
    await other.send(pipe)
    with pytest.raises(FunctionError, match="not the function"):
        await other.loaded(pipe, instance.learn)


async def test_a_second_upload_is_refused(local):
    instance = await local.box.install(ECHO)
    pipe = await local.box.open(instance.ticket.token, bytes(16), b"")
    again = Upload(ECHO, instance.owner)
    await again.send(pipe)
    with pytest.raises(BoxError, match="already"):
        await again.loaded(pipe, instance.learn)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"def main(api:", "SyntaxError"),
        (b"1/0", "ZeroDivisionError"),
        (b"x = 1", "no main"),
        (b"import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)
async def test_a_broken_function_is_told_to_its_owner_at_install(local, source, words):
    with pytest.raises(FunctionError, match=words):
        await local.box.install(source)


async def test_text_arguments_become_what_main_asks_for(local):
    source = b"def main(api, a: int, b: float, c: bool, d: bytes, e: str = 'x', f: int | None = 3):\n return repr((a, b, c, d, e, f))"
    instance = await local.box.install(source)
    session = await instance.invoke("1", "2.5", "yes", "raw", e="5", f="none", text=True)
    assert await answer(session) == b"(1, 2.5, True, b'raw', '5', None)"
    with pytest.raises(FunctionError, match="'a' must be int"):
        await answer(await instance.invoke("one", "2", "no", "x", text=True))
    with pytest.raises(FunctionError, match="missing a required argument"):
        await answer(await instance.invoke(text=True))


async def test_an_async_main_works(local):
    source = b"""
import asyncio
async def main(api, n: int):
    await asyncio.gather(*(api.send(b"x") for _ in range(n)))
    async for piece in api:
        await api.send(piece)
"""
    instance = await local.box.install(source)
    assert await answer(await instance.invoke(3), b"in") == b"xxxin"


async def test_the_private_folder_is_shared_by_sessions_and_bounded(local):
    source = b"""
def main(api, do):
    path = api.data / "file"
    if do == "fill":
        try: path.write_bytes(bytes(64 << 20))
        except OSError as e: return e.strerror
    if do == "put": path.write_text("kept")
    if do == "get": return path.read_text()
"""
    instance = await local.box.install(source)
    await answer(await instance.invoke("put"))
    assert await answer(await instance.invoke("get")) == b"kept"
    assert await answer(await instance.invoke("fill")) in (
        b"No space left on device",
        b"File too large",
    )


async def test_sessions_of_one_instance_run_side_by_side(local):
    instance = await local.box.install(SLOW)
    sessions = [await instance.invoke() for _ in range(5)]
    for number, session in reversed(list(enumerate(sessions))):
        assert await answer(session, b"%d" % number) == b"first %d last" % number


async def test_more_sessions_than_threads_are_refused_and_the_instance_lives(local):
    instance = await local.box.install(b"# /// bento\n# pids = 8\n# ///\n" + SLOW)
    sessions, refused = [], 0
    for _ in range(10):
        session = await instance.invoke()
        try:
            await session.started()
            sessions.append(session)
        except BoxError as error:
            assert "pids" in error.hint
            refused += 1
    assert sessions and refused
    assert await answer(sessions[0], b"x") == b"first x last"
    for session in sessions[1:]:
        await session.detach()


async def test_sessions_are_bounded(local):
    instance = await local.box.install(
        b'# /// bento\n# memory = "128 MiB"\n# pids = 128\n# ///\n' + SLOW
    )
    sessions = [await instance.invoke() for _ in range(limits.SESSIONS)]
    for session in sessions:
        await session.started()
    with pytest.raises(BoxError, match="sessions already"):
        await (await instance.invoke()).read()
    for session in sessions:
        await session.detach()


async def test_the_smallest_spool_does_not_stall(local):
    source = b'# /// bento\n# spool = "1 MiB"\n# ///\ndef main(api):\n for _ in range(99): api.send(bytes(50001))'
    _, session = await local.box.run(source)
    assert len(await session.read()) == 99 * 50001


async def test_a_spool_below_what_makes_a_client_acknowledge_is_refused(local):
    with pytest.raises(UsageError, match="at least 1 MiB"):
        await local.box.run(b'# /// bento\n# spool = "64 KiB"\n# ///\ndef main(api): pass')


ENDING = b"""
def main(api, last: bool):
    api.send(b"an answer")
    if last:
        api.end()
"""


async def test_a_function_ends_its_instance_once_its_answer_was_fetched(local):
    instance = await local.box.install(ENDING)
    assert await answer(await instance.invoke(last=False)) == b"an answer"
    assert await answer(await instance.invoke(last=True)) == b"an answer"
    await until(lambda: len(local.instances) == 0)
    with pytest.raises(BoxError, match="no such token"):
        await instance.invoke(last=False)


async def test_an_instance_whose_creator_never_came_is_ended_at_once(local):
    _, pipe, _ = await local.box._create(ECHO, None)
    [kept] = local.instances
    pipe.writer.close()  # as when the circuit broke under the answer
    await until(lambda: len(local.instances) == 0)
    await until(lambda: not os.path.exists(f"/proc/{kept.sandbox.pid}"))


async def test_an_instance_that_its_creator_came_for_outlives_their_connection(local):
    instance, pipe, _ = await local.box._create(ECHO, None)
    pipe.writer.write(encode(Load(len(ECHO), 0, instance.owner)))
    await pipe.reader.read(1)
    pipe.writer.close()
    [kept] = local.instances
    await until(lambda: not kept.relays)
    assert len(local.instances) == 1
