"""The function in a real sandbox, used by its real client; only Tor is missing."""

import asyncio
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest
from tests.local_box import local_box
from tests.waiting import until

from bento.errors import BoxError, FunctionError, PolicyError, RemoteProtocolError, UsageError
from bento.functions.dropbox import transfer
from bento.functions.dropbox.client import Get, Put, measure
from bento.functions.dropbox.sealing import BLOCK
from bento.functions.dropbox.sink import FileSink
from bento.functions.dropbox.transfer import Rules

MIB = 1 << 20


@pytest.fixture
async def local():
    async with local_box() as box:
        yield box


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTO_HOME", str(tmp_path / "home"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "the plans.pdf"
    path.write_bytes(hashlib.shake_128(b"plans").digest(3 * BLOCK + 1234))
    return path


ANYTIME = Rules()


async def put(local, path, rules=ANYTIME, **options):
    return await Put(path, measure(path, **options), rules).run(local.box)


async def get(local, ticket, path):
    content = await Get(ticket, str(path)).run(local.box, lambda _: FileSink(path))
    assert not path.with_name(path.name + ".part").exists()
    return content


def stored(local):
    """What the box's operator finds."""
    instance = next(iter(local.instances))
    return Path(f"/proc/{instance.sandbox.pid}/root/tmp/data/file")


async def test_put_then_get_by_the_ticket_alone(local, file, tmp_path):
    ticket = await put(local, file)
    copies = [tmp_path / f"copy{number}" for number in range(4)]
    contents = await asyncio.gather(*(get(local, ticket, copy) for copy in copies))
    assert {copy.read_bytes() for copy in copies} == {file.read_bytes()}
    assert {content.name for content in contents} == {"the plans.pdf"}


@pytest.mark.parametrize("size", [0, 1, BLOCK])
async def test_a_file_of_any_size(local, tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    ticket = await put(local, path)
    await get(local, ticket, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(size)


async def test_the_box_holds_neither_the_bytes_nor_the_name_nor_the_key(local, file):
    ticket = await put(local, file, padding="x2")
    kept = stored(local).read_bytes()
    assert len(kept) > 256 << 10  # padded: its own size is not to be seen either
    plain = file.read_bytes()
    assert all(plain[at : at + 16] not in kept for at in range(0, len(plain) - 16, 4096))
    assert b"plans" not in kept
    assert ticket.decryption not in kept


async def test_it_is_gone_once_every_allowed_get_was_confirmed(local, file, tmp_path):
    ticket = await put(local, file, Rules(gets=2))
    pid = next(iter(local.instances)).sandbox.pid
    await get(local, ticket, tmp_path / "one")
    assert (await transfer.status(local.box.instance(ticket)))["gets_left"] == 1
    await get(local, ticket, tmp_path / "two")
    await until(lambda: len(local.instances) == 0)
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(BoxError):
        await get(local, ticket, tmp_path / "three")


async def test_a_get_that_breaks_off_goes_on_and_counts_once(local, file, tmp_path):
    ticket = await put(local, file, Rules(gets=1))
    target = tmp_path / "copy"

    class Broken(FileSink):
        def write(self, data):
            super().write(data)
            if self.size > 2 * BLOCK:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Get(ticket, "copy").run(local.box, lambda _: Broken(target))
    assert (tmp_path / "copy.part").stat().st_size >= 2 * BLOCK
    served = (await transfer.status(local.box.instance(ticket)))["served"]
    with pytest.raises(FunctionError, match="gets are all taken"):
        await Get(ticket, "another").run(local.box, lambda _: FileSink(tmp_path / "another"))
    await Get(ticket, "copy").run(local.box, lambda _: FileSink(target))
    assert target.read_bytes() == file.read_bytes()
    assert served <= measure(file).sealed_size
    await until(lambda: len(local.instances) == 0)


async def test_a_resumed_get_fetches_only_what_is_missing(local, file, tmp_path):
    ticket = await put(local, file)
    target = tmp_path / "copy"
    opened = []

    def sink(content):
        opened.append(FileSink(target))
        if len(opened) == 1:
            raise UsageError("no")
        return opened[-1]

    with pytest.raises(UsageError):
        await Get(ticket, "copy").run(local.box, sink)
    (tmp_path / "copy.part").write_bytes(file.read_bytes()[: 2 * BLOCK + 5])
    notes = Get(ticket, "copy")
    notes._unfinished.write(name="00" * 16, content=measure(file).to_text())
    before = (await transfer.status(local.box.instance(ticket)))["served"]
    await notes.run(local.box, sink)
    served = (await transfer.status(local.box.instance(ticket)))["served"] - before
    assert target.read_bytes() == file.read_bytes()
    assert served < 2 * BLOCK


async def test_a_partial_file_that_was_altered_here_is_not_called_whole(local, file, tmp_path):
    ticket = await put(local, file)
    (tmp_path / "copy.part").write_bytes(bytes(2 * BLOCK))
    resumed = Get(ticket, "copy")
    resumed._unfinished.write(name="00" * 16, content=measure(file).to_text())
    with pytest.raises(RemoteProtocolError, match="not the one its sender hashed"):
        await resumed.run(local.box, lambda _: FileSink(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


async def test_a_killed_put_goes_on_where_it_stopped(local, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(hashlib.shake_128(b"large").digest(8 * MIB))
    content = measure(path)

    def dies(done, total):
        if done > 7 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Put(path, content, Rules()).run(local.box, dies)
    first = next(iter(local.instances))
    again = Put(path, content, Rules())
    assert again.box == ("AB" * 20).lower()
    ticket = await again.run(local.box)
    assert len(local.instances) == 1
    assert first.bytes_in < (8 + 4 + 1) * MIB  # the file, and at most one window again
    await get(local, ticket, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert await Put(path, content, Rules()).run(local.box) == ticket  # killed before it was shown
    again.forget()
    assert await Put(path, content, Rules()).run(local.box) != ticket


async def test_a_changed_file_is_another_put(local, file):
    first = await put(local, file)
    file.write_bytes(b"changed")
    assert await put(local, file) != first


async def test_an_instance_that_ended_meanwhile_is_replaced(local, file, tmp_path):
    await put(local, file)
    await local.instances.end(next(iter(local.instances)))
    ticket = await put(local, file)
    await get(local, ticket, tmp_path / "copy")


async def test_bytes_served_end_it_too(local, file, tmp_path):
    size = measure(file).sealed_size
    ticket = await put(local, file, Rules(max_bytes=size + 10))
    await get(local, ticket, tmp_path / "copy")
    with pytest.raises((FunctionError, BoxError), match=r"served all|broke"):
        await get(local, ticket, tmp_path / "second")
    await until(lambda: len(local.instances) == 0)


async def test_a_get_is_not_sent_the_file_over_and_over(local, file):
    ticket = await put(local, file, Rules(gets=1))
    instance = local.box.instance(ticket)
    for _ in range(2):
        session = await instance.invoke("get", name=b"n", offset=0)
        await session.close_input()
        await session.read()
    session = await instance.invoke("get", name=b"n", offset=0)
    with pytest.raises(FunctionError, match="twice already"):
        await session.read()


async def test_a_file_that_was_put_can_be_neither_replaced_nor_prolonged(local, file):
    ticket = await put(local, file)
    kept = stored(local).read_bytes()
    instance = local.box.instance(ticket)
    session = await instance.invoke("put", size=5)
    with pytest.raises(FunctionError, match="another file"):
        await session.read()
    session = await instance.invoke("put", size=len(kept))
    await session.send(b"more")
    assert (await session.read())[8:] == hashlib.sha256(kept).digest()
    assert stored(local).read_bytes() == kept


async def _eight_gets(local, ticket):
    """Under way, and not fetched."""
    instance = local.box.instance(ticket)
    gets = [await instance.invoke("get", name=b"", offset=0) for _ in range(8)]
    for session in gets:
        await session.started()
    return gets


async def test_no_more_than_eight_gets_at_once(local, file):
    ticket = await put(local, file)
    gets = await _eight_gets(local, ticket)
    instance = local.box.instance(ticket)
    await until(lambda: all(session._incoming.received for session in gets))
    ninth = await instance.invoke("get", name=b"", offset=0)
    with pytest.raises(FunctionError, match="8 gets are under way"):
        await ninth.read()
    for session in gets:
        await session.detach()


async def test_gets_that_were_left_make_room_for_others(local, tmp_path, monkeypatch):
    source = transfer.upload().replace(b"IDLE_SECONDS = 120", b"IDLE_SECONDS = 1")
    monkeypatch.setattr(transfer, "upload", lambda: source)
    path = tmp_path / "large"
    path.write_bytes(bytes(3 * MIB))  # more than a spool: whoever leaves is noticed while sending
    ticket = await put(local, path)
    for session in await _eight_gets(local, ticket):
        await session.detach()
    async with asyncio.timeout(120):
        while True:
            try:
                await get(local, ticket, tmp_path / "copy")
                break
            except FunctionError:
                await asyncio.sleep(0.2)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


async def test_get_before_the_put_is_done_says_so(local):
    instance = await transfer.install(local.box, 1000, Rules())
    with pytest.raises(FunctionError, match="not here yet"):
        await transfer.load(instance, b"", 0, lambda piece: False)


@pytest.mark.parametrize(
    ("honest", "lying", "error"),
    [
        ("api.send(drop.hash.digest())", "api.send(bytes(32))", "stored something else"),
        ("api.send(drop.hash.digest())", "pass", "less than it should"),
    ],
)
async def test_a_box_that_did_not_store_it_is_found_out(
    local, file, monkeypatch, honest, lying, error
):
    source = transfer.upload().decode()
    assert honest in source
    monkeypatch.setattr(transfer, "upload", lambda: source.replace(honest, lying).encode())
    with pytest.raises((BoxError, RemoteProtocolError), match=error):
        await put(local, file)


@pytest.mark.parametrize(
    ("lying", "error"),
    [
        ("api.send(piece[:-1] + b'x')", "block"),
        ("api.send(piece[:-1])", "sent nothing"),
        ("api.send(piece + b'x')", "follow the end"),
    ],
)
async def test_a_box_that_gives_something_else_is_found_out(
    local, file, tmp_path, monkeypatch, lying, error
):
    source = transfer.upload().decode()
    monkeypatch.setattr(transfer, "STALL_SECONDS", 1.0)
    monkeypatch.setattr(
        transfer,
        "upload",
        lambda: source.replace("api.send(piece, timeout=IDLE_SECONDS)", lying).encode(),
    )
    ticket = await put(local, file)
    with pytest.raises((RemoteProtocolError, BoxError), match=error):
        await Get(ticket, "copy").run(local.box, lambda _: FileSink(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


async def test_a_box_too_small_for_the_file_says_what_it_offers(file):
    async with local_box(disk="4 MiB") as local:
        with pytest.raises(PolicyError, match="disk"):
            await put(local, file)
        assert len(local.instances) == 0


async def _through(local, path, tmp_path):
    """(peak of this process, peak of the sandbox beside the file), in bytes."""
    size = path.stat().st_size
    tracemalloc.start()
    try:
        ticket = await put(local, path)
        inside = next(iter(local.instances)).sandbox.usage().memory - size
        await get(local, ticket, tmp_path / "copy")
        inside = max(inside, next(iter(local.instances)).sandbox.usage().memory - size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert measure(tmp_path / "copy").sha256 == measure(path).sha256
    return peak, inside


def _large(path, size):
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(hashlib.shake_128(number.to_bytes(4)).digest(MIB))


async def test_64_mib_pass_in_bounded_memory_on_both_sides(local, tmp_path):
    _large(tmp_path / "large", 64 * MIB)
    here, inside = await _through(local, tmp_path / "large", tmp_path)
    assert here < 24 * MIB
    assert inside < 48 * MIB


@pytest.mark.campaign
async def test_1_gib_passes_in_bounded_memory_on_both_sides(tmp_path):
    async with local_box(disk="2 GiB", memory="2 GiB") as local:
        _large(tmp_path / "large", 1024 * MIB)
        here, inside = await _through(local, tmp_path / "large", tmp_path)
    assert here < 24 * MIB
    assert inside < 48 * MIB
