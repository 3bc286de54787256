"""Shards on several real boxes, of which some die, lie or dawdle; only Tor is missing."""

import contextlib
import hashlib
import re
import tracemalloc

import pytest
from tests.functions.shard.test_diversity import relay
from tests.local_box import local_box

from bento.client.box import Box, BoxName
from bento.client.route import UnixRoute
from bento.errors import BoxError, UsageError
from bento.functions.dropbox import transfer
from bento.functions.dropbox.client import measure, read
from bento.functions.dropbox.sealing import seal
from bento.functions.dropbox.sink import FileSink
from bento.functions.dropbox.transfer import Rules
from bento.functions.shard import gather
from bento.functions.shard.client import ShardGet, check, repair
from bento.functions.shard.layout import Plan
from bento.functions.shard.put import ShardPut
from bento.functions.shard.ticket import ShardTicket, is_shard_ticket

MIB = 1 << 20
BOXES = 4
LIES = "api.send(bytes(len(piece)))"
CORRUPTS = "api.send(piece if file.tell() < drop.size else piece[:-1] + b'x')"
DAWDLES = "(__import__('time').sleep(0 if file.tell() < drop.size / 2 else 30), api.send(piece))"


class Killed(Exception):
    """The end of a client, at a moment of the test's choice."""


class Boxes:
    """Some boxes side by side, each with a name of its own. `lies`: fingerprint -> what is run there in
    place of the line that sends a piece."""

    def __init__(self, locals_):
        self.locals = locals_
        self.entries = [relay(n, f"10.{n}.0.1") for n in range(1, len(locals_) + 1)]
        self.gone = set()
        self.connected = []

    @contextlib.asynccontextmanager
    async def connect(self, fingerprint):
        number = int(fingerprint.hex(), 16)
        self.connected.append(number)
        if number in self.gone:
            raise BoxError("the box is gone")
        local = self.locals[number - 1]
        name = BoxName(f"box{number}", fingerprint.hex(), local.identity.key_hash)
        yield Box(name, UnixRoute(str(local.path)))


@pytest.fixture
async def boxes(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTO_HOME", str(tmp_path / "home"))
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(local_box()) for _ in range(BOXES)]
        yield Boxes(opened)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(hashlib.shake_128(b"file").digest(5 * MIB + 77))
    return path


def nobody(line):
    """Hears nothing."""


async def put(boxes, path, need=2, total=3, *, entries=None, tell=nobody):
    content = measure(path)
    plan = Plan(need, total, content.sealed_size)
    shard_put = ShardPut(str(path), plan, Rules(), tell)
    key = shard_put.key(content)
    ticket, _ = await shard_put.run(
        key, lambda: seal(key, content, read(path)), boxes.connect, entries or boxes.entries, ()
    )
    return ticket


async def get(boxes, ticket, path, order=None):
    shard_get = ShardGet(ticket, str(path))
    order = list(range(ticket.plan.total)) if order is None else order
    await shard_get.run(boxes.connect, lambda _: FileSink(path), order)
    return shard_get.problems


def at(boxes, ticket, shard):
    """The number of the box that keeps a shard."""
    return int(ticket.shards[shard].box.hex(), 16)


def one_box_runs(monkeypatch, boxes, number, lie):
    """That box runs a dropbox that cheats."""
    honest, real = transfer.upload, transfer.install

    async def install(box, size, rules, trust=None):
        cheats = int(box.name.fingerprint, 16) == number
        source = (
            honest().decode().replace("api.send(piece, timeout=IDLE_SECONDS)", lie)
            if cheats
            else honest().decode()
        )
        monkeypatch.setattr(transfer, "upload", source.encode)
        return await real(box, size, rules, trust)

    monkeypatch.setattr(transfer, "install", install)


async def test_any_two_of_three_boxes_bring_the_file_back(boxes, file, tmp_path):
    ticket = ShardTicket.parse((await put(boxes, file)).encode())
    assert len({shard.box for shard in ticket.shards}) == 3
    for left_out in range(3):
        copy = tmp_path / f"copy{left_out}"
        boxes.gone = {at(boxes, ticket, left_out)}
        problems = await get(boxes, ticket, copy)
        assert copy.read_bytes() == file.read_bytes()
        assert set(problems) <= {left_out}
    boxes.gone |= {at(boxes, ticket, 0), at(boxes, ticket, 1)}
    with pytest.raises(BoxError, match="2 good shards are needed; shard"):
        await get(boxes, ticket, tmp_path / "none")


async def test_the_user_chooses_where_to_fetch_from(boxes, file, tmp_path):
    ticket = await put(boxes, file)
    boxes.connected.clear()
    await get(boxes, ticket, tmp_path / "copy", order=[2, 0])
    assert set(boxes.connected) == {at(boxes, ticket, 0), at(boxes, ticket, 2)}


@pytest.mark.parametrize(
    ("lie", "named"),
    [(LIES, "not the shard"), (CORRUPTS, "fragment . of the shard is corrupt")],
)
async def test_a_box_that_lies_is_named_and_survived(
    boxes, file, tmp_path, monkeypatch, lie, named
):
    one_box_runs(monkeypatch, boxes, 2, lie)
    ticket = await put(boxes, file, 2, 3, entries=boxes.entries[:3])
    liar = next(n for n in range(3) if at(boxes, ticket, n) == 2)
    order = [liar, *(n for n in range(3) if n != liar)]
    problems = await get(boxes, ticket, tmp_path / "copy", order)
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert list(problems) == [liar]
    assert re.search(named, problems[liar])


async def test_a_box_that_dawdles_gets_a_rival(boxes, file, tmp_path, monkeypatch):
    monkeypatch.setattr(gather, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr(gather, "LEAST_SECONDS", 0.5)
    one_box_runs(monkeypatch, boxes, 2, DAWDLES)
    ticket = await put(boxes, file, 2, 3, entries=boxes.entries[:3])
    slow = next(n for n in range(3) if at(boxes, ticket, n) == 2)
    boxes.connected.clear()
    await get(boxes, ticket, tmp_path / "copy", [slow, *(n for n in range(3) if n != slow)])
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert len(set(boxes.connected)) == 3


async def test_a_box_that_fails_during_the_put_is_replaced_and_named(boxes, file, tmp_path):
    boxes.gone = {1}
    told = []
    while not told:  # until the dead one was among those chosen
        file.write_bytes(file.read_bytes() + b"x")
        ticket = await put(boxes, file, 2, 3, tell=told.append)
    assert told == ["relay1: the box is gone"]
    assert 1 not in {at(boxes, ticket, n) for n in range(3)}
    await get(boxes, ticket, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


async def test_a_killed_put_goes_on_and_sends_little_again(boxes, file, tmp_path, monkeypatch):
    real = transfer.store

    async def dies(instance, size, pieces, rules, progress=None):
        async for _ in pieces:
            break
        raise Killed

    monkeypatch.setattr(transfer, "store", dies)
    with pytest.raises(Killed):
        await put(boxes, file, entries=boxes.entries[:3])
    monkeypatch.setattr(transfer, "store", real)
    instances = {instance for local in boxes.locals for instance in local.instances}
    ticket = await put(boxes, file, entries=boxes.entries[:3])
    assert len(instances) <= 3
    assert sum(len(local.instances) for local in boxes.locals) == 3
    await get(boxes, ticket, tmp_path / "copy")


async def test_a_get_that_breaks_off_goes_on(boxes, file, tmp_path):
    ticket = await put(boxes, file)

    class Broken(FileSink):
        def write(self, data):
            super().write(data)
            if self.size > 3 * MIB:
                raise Killed

    with pytest.raises(Killed):
        shard_get = ShardGet(ticket, "x")
        await shard_get.run(boxes.connect, lambda _: Broken(tmp_path / "x"), [0, 1, 2])
    passed = sum(i.bytes_out for local in boxes.locals for i in local.instances)
    await ShardGet(ticket, "x").run(boxes.connect, lambda _: FileSink(tmp_path / "x"), [0, 1, 2])
    more = sum(i.bytes_out for local in boxes.locals for i in local.instances) - passed
    assert (tmp_path / "x").read_bytes() == file.read_bytes()
    assert more < 4.5 * MIB


async def test_repair_makes_lost_and_corrupt_shards_anew_elsewhere(boxes, file, tmp_path):
    ticket = await put(boxes, file, 2, 3, entries=boxes.entries[:3])
    assert await check(ticket, boxes.connect) == {}
    lost = at(boxes, ticket, 1)
    boxes.gone = {lost}
    told = []
    done = await repair(ticket, boxes.connect, boxes.entries, Rules(), told.append)
    assert done.lost == {1: "the box is gone"}
    assert at(boxes, done.ticket, 1) == 4
    assert await check(done.ticket, boxes.connect) == {}
    assert done.ticket.root == ticket.root
    boxes.gone.add(at(boxes, ticket, 0))
    await get(boxes, done.ticket, tmp_path / "copy", [1, 2])
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    boxes.gone.add(at(boxes, ticket, 2))
    with pytest.raises(BoxError, match="1 shards are good, 2 are needed"):
        await repair(done.ticket, boxes.connect, boxes.entries, Rules())
    left = list((tmp_path / "home" / "unfinished").iterdir())
    assert not [path for path in left if path.name.startswith("repair")]


async def test_a_box_that_lied_gets_no_shard_again_and_one_that_lost_its_may(
    boxes, file, tmp_path, monkeypatch
):
    one_box_runs(monkeypatch, boxes, 2, CORRUPTS)
    ticket = await put(boxes, file, 2, 3, entries=boxes.entries[:3])
    three = boxes.entries[:3]
    with pytest.raises(BoxError, match="1 unrelated boxes are needed and 0 were found"):
        await repair(ticket, boxes.connect, three, Rules())
    done = await repair(ticket, boxes.connect, boxes.entries, Rules())
    assert len(done.lost) == 1
    assert {at(boxes, done.ticket, n) for n in range(3)} == {1, 3, 4}
    local = boxes.locals[0]
    await local.instances.end(next(iter(local.instances)))
    again = await repair(
        done.ticket,
        boxes.connect,
        [entry for entry in boxes.entries if entry is not three[1]],
        Rules(),
    )
    assert {at(boxes, again.ticket, n) for n in range(3)} == {1, 3, 4}
    assert await check(again.ticket, boxes.connect) == {}


async def test_a_ticket_typed_wrong_is_told(boxes, file):
    line = (await put(boxes, file)).encode()
    assert is_shard_ticket(line)
    for wrong in (line[:-1], line[:40] + line[41:], line.replace("a", "b", 1) + "a", line + "!"):
        with pytest.raises(UsageError):
            ShardTicket.parse(wrong)


async def test_shards_pass_in_memory_that_the_files_size_does_not_change(boxes, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as large:
        for number in range(48):
            large.write(hashlib.shake_128(number.to_bytes(4)).digest(MIB))
    tracemalloc.start()
    try:
        ticket = await put(boxes, path)
        await get(boxes, ticket, tmp_path / "copy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert measure(tmp_path / "copy").sha256 == measure(path).sha256
    assert peak < 40 * MIB
