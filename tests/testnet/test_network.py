"""The private network as a whole: real tors, really started, killed and ended."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.waiting import until

from bento.errors import HostError, UsageError
from bento.testnet import Size, Status, Testnet, find
from bento.testnet.folders import Folders
from bento.testnet.processes import Identity, Table, descendants
from bento.tor.controller import Controller
from bento.tor.socks import open_stream

pytestmark = pytest.mark.network

SMALL = Size(boxes=0, relays=2)
ONE_BOX = Size(boxes=1, relays=2)


@dataclass
class Own:
    """A network of one test alone."""

    home: Path
    size: Size = SMALL

    @property
    def folders(self) -> Folders:
        return Folders.of(self.home)

    def testnet(self, size: Size | None = None) -> Testnet:
        return Testnet(size or self.size, self.home)

    async def up(self, size: Size | None = None) -> Status:
        """Start it, so that it ends with this run however that ends."""
        return await self.testnet(size).up(owner=os.getpid())

    def process(self, name: str) -> Identity:
        return next(p for p in Table.read(self.folders.processes) if p.name == name)

    def processes(self) -> list[Identity]:
        """Every process of the network, whoever started it."""
        supervisor = self.process("supervisor")
        return [supervisor, *descendants(supervisor.pid)]


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Own]:
    """One that never ran."""
    own = Own(tmp_path / "home")
    yield own
    await own.testnet().down()


@pytest.fixture
async def own(bare: Own, small_state: Path) -> Own:
    """A small one that starts from saved state."""
    shutil.copytree(small_state, bare.home)
    return bare


@pytest.fixture
async def own_box(bare: Own, box_state: Path) -> Own:
    """One with a box, that starts from saved state."""
    shutil.copytree(box_state, bare.home)
    bare.size = ONE_BOX
    return bare


@pytest.fixture(scope="session")
def small_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_state(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="session")
def box_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_state(tmp_path_factory.mktemp("box"), ONE_BOX)


def saved_state(home: Path, size: Size) -> Path:
    network = Testnet(size, home)
    asyncio.run(network.up(owner=os.getpid()))
    asyncio.run(network.down())
    return home


async def until_ready(network: Testnet) -> None:
    async with asyncio.timeout(120):
        while not (await network.status()).ready:
            await asyncio.sleep(0.05)


def alive(processes: list[Identity]) -> list[Identity]:
    return [p for p in processes if Identity.of(p.name, p.pid) == p]


def left_of(own: Own, table: str) -> list[str]:
    """The lines of a kernel table that name a file of this network."""
    lines = Path(table).read_text().splitlines()
    return [line for line in lines if str(own.home) in line or str(own.folders.run) in line]


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def ask_the_web(socks: str) -> float:
    """Fetch an echo through an exit; returns the shortest of some round trips, in seconds."""
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(echo, "127.80.7.1", 0) as web:
        reader, writer = await open_stream(socks, *web.sockets[0].getsockname())
        times = []
        for _ in range(5):
            begun = loop.time()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            times.append(loop.time() - begun)
        writer.close()
    return min(times)


# -- start and end ----------------------------------------------------------------------------


async def test_cold_and_warm_start_and_nothing_left_by_either(bare: Own) -> None:
    own = bare
    steps = []
    network = own.testnet()
    fingerprint = own.folders.data / "relay0/tor/fingerprint"
    seen = set()
    for _ in range(2):
        status = await network.up(steps.append, owner=os.getpid())
        assert status.ready
        await ask_the_web(status.socks)
        processes = own.processes()
        assert len(processes) == 1 + 5 + 2  # supervisor, servers, clients
        await network.down()
        assert alive(processes) == []
        assert left_of(own, "/proc/net/unix") == []
        assert left_of(own, "/proc/mounts") == []
        assert not own.folders.run.exists()
        seen.add(fingerprint.read_text())
    assert len(seen) == 1
    # Only the cold start needed a vote; both said what they waited for.
    assert [s.done for s in steps if s.what == "a new consensus"] == [0, 1]
    assert [s.done for s in steps if s.what == "tor processes"].count(7) == 2


async def test_without_a_saved_consensus_the_next_start_votes_again(own: Own) -> None:
    for name in ("cached-consensus", "cached-microdesc-consensus"):
        for saved in own.folders.data.glob(f"*/tor/{name}"):
            saved.unlink()
    status = await own.up()
    await ask_the_web(status.socks)


async def test_a_client_without_documents_gets_them_from_relays_that_saved_theirs(own: Own) -> None:
    """A cache that forgets its consensus when it ages answers 404, and the client waits."""
    for saved in own.folders.data.glob("user/tor/cached-*"):
        saved.unlink()
    network = own.testnet()
    await network.up(owner=os.getpid())
    await ask_the_web(network.user_tor().socks)


async def test_down_of_nothing_is_no_error(bare: Own) -> None:
    await bare.testnet().down()
    assert not (await bare.testnet().status()).ready
    assert find(bare.home) is None


async def test_a_network_that_is_up_is_found_and_joined(own: Own) -> None:
    first = await own.up()
    found = find(own.home)
    assert found is not None
    assert found.size == SMALL
    assert await found.up() == first
    supervisor = own.process("supervisor")
    with pytest.raises(UsageError, match="is up already"):
        await own.up(Size(boxes=0, relays=3))
    assert own.process("supervisor") == supervisor


async def test_two_that_start_it_at_once_get_the_same_network(own: Own) -> None:
    first, second = await asyncio.gather(own.up(), own.up())
    assert first == second


async def test_two_networks_live_on_one_machine(own: Own, network: Testnet) -> None:
    mine = await own.up()
    shared = await network.status()
    assert mine.socks != shared.socks
    await ask_the_web(mine.socks)
    await ask_the_web(shared.socks)


async def test_a_start_that_nobody_waits_for_any_more_leaves_nothing(own: Own) -> None:
    starting = asyncio.create_task(own.up())
    await until(lambda: len(Table.read(own.folders.processes)) > 2)
    processes = own.processes()
    starting.cancel()
    await until(lambda: alive(processes) == [])
    assert not own.folders.run.exists()


async def test_a_network_ends_with_its_owner(own: Own) -> None:
    with sleeper() as owner:
        await own.testnet().up(owner=owner.pid)
        processes = own.processes()
    await until(lambda: alive(processes) == [])


async def test_a_start_that_fails_says_why_and_leaves_nothing(bare: Own) -> None:
    own = bare
    own.folders.make()
    keys = own.folders.data / "auth/tor/keys"
    keys.mkdir(parents=True)
    (keys / "authority_certificate").write_text("damaged")
    with pytest.raises(HostError, match="is damaged"):
        await own.up()
    assert not own.folders.run.exists()


async def test_a_supervisor_that_gets_sigterm_ends_everything_itself(own: Own) -> None:
    await own.up()
    supervisor, *others = own.processes()
    os.kill(supervisor.pid, signal.SIGTERM)
    await until(lambda: alive([supervisor]) == [])
    assert alive(others) == []
    assert not own.folders.run.exists()


async def test_what_a_killed_box_leaves_is_adopted_and_ended(own_box: Own) -> None:
    """A sandbox outlives a killed bentod; here it cannot even notice."""
    [box] = (await own_box.up()).boxes
    assert box.bentod_pid is not None
    sandboxes = descendants(box.bentod_pid)
    assert sandboxes
    for process in sandboxes:
        os.kill(process.pid, signal.SIGSTOP)
    os.kill(box.bentod_pid, signal.SIGKILL)
    supervisor = own_box.process("supervisor")
    os.kill(supervisor.pid, signal.SIGTERM)
    await until(lambda: alive([supervisor]) == [])
    assert alive(sandboxes) == []


# -- what dies --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auth", "relay0", "user"])
async def test_a_killed_tor_is_started_again(own: Own, name: str) -> None:
    network = own.testnet()
    await network.up(owner=os.getpid())
    before = own.process(name)
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: own.process(name) != before)
    await until_ready(network)
    await ask_the_web(network.user_tor().socks)


@pytest.mark.parametrize("which", ["bentod_pid", "tor_pid"])
async def test_a_killed_half_of_a_box_is_started_again(own_box: Own, which: str) -> None:
    own = own_box
    network = own.testnet()
    [before] = (await network.up(owner=os.getpid())).boxes
    os.kill(getattr(before, which), signal.SIGKILL)
    await until(lambda: alive([Identity(which, getattr(before, which), 0)]) == [])
    async with asyncio.timeout(120):
        while getattr((await network.status()).boxes[0], which) in (None, getattr(before, which)):
            await asyncio.sleep(0.05)
    await until_ready(network)
    [after] = (await network.status()).boxes
    assert (after.fingerprint, after.onion) == (before.fingerprint, before.onion)
    processes = own.processes()
    await network.down()
    assert alive(processes) == []


async def _status(network: Testnet) -> None:
    assert not (await network.status()).ready


async def _down(network: Testnet) -> None:
    await network.down()


async def _up(network: Testnet) -> None:
    assert (await network.up(owner=os.getpid())).ready


@pytest.mark.parametrize("command", [_status, _down, _up])
async def test_what_a_killed_supervisor_leaves_is_ended_by_any_command(
    own_box: Own, command: Callable[[Testnet], object]
) -> None:
    own = own_box
    network = own.testnet()
    await network.up(owner=os.getpid())
    processes = own.processes()
    supervisor = own.process("supervisor")
    os.kill(supervisor.pid, signal.SIGKILL)
    await until(lambda: alive([supervisor]) == [])
    await command(network)  # type: ignore[misc]
    assert alive(processes) == []
    await network.down()
    assert left_of(own, "/proc/net/unix") == []


async def test_down_ends_a_supervisor_that_hangs(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bento.testnet.network._DOWN_PATIENCE", 0.5)
    await own.up()
    processes = own.processes()
    os.kill(own.process("supervisor").pid, signal.SIGSTOP)
    await own.testnet().down()
    assert alive(processes) == []


async def test_what_answers_in_a_folder_that_others_may_enter_is_not_believed(own: Own) -> None:
    await own.up()
    own.folders.run.chmod(0o777)
    with pytest.raises(HostError, match="not a private folder"):
        find(own.home)
    own.folders.run.chmod(0o700)
    assert find(own.home) is not None


async def test_a_process_with_a_recycled_id_survives_the_clean_up(bare: Own) -> None:
    own = bare
    with sleeper() as stranger:
        own.folders.make()
        Table(own.folders.processes).put("relay0", stranger.pid)
        text = own.folders.processes.read_text()
        start = own.process("relay0").start
        own.folders.processes.write_text(text.replace(f'"start": {start}', f'"start": {start - 1}'))
        await own.testnet().down()
        assert stranger.poll() is None


# -- what it is good for ----------------------------------------------------------------------


async def test_each_link_delays_each_way(own: Own) -> None:
    """Client, guard, middle, exit: three links, there and back, are six delays."""
    delay = 0.04
    status = await own.up(Size(boxes=0, relays=2, delay_ms=delay * 1000))
    slow = await ask_the_web(status.socks)
    assert slow / (6 * delay) >= 0.95
    # A fourth link would make it eight; what else there is comes from a busy machine.
    await own.testnet().down()
    fast = await ask_the_web((await own.up()).socks)
    assert fast / slow < 0.5


async def test_the_shared_network_has_three_boxes_that_can_be_reached(network: Testnet) -> None:
    status = await network.status()
    assert status.ready
    assert [box.name for box in status.boxes] == ["box0", "box1", "box2"]
    for box in status.boxes:
        assert len(box.fingerprint) == 40
        assert box.bentod_pid
        assert box.tor_pid
        # Through the plain client: the tor for commands attaches no stream by itself once used.
        _, writer = await open_stream(status.socks, f"{box.onion}.onion", 80)
        writer.close()


async def test_the_tor_for_commands_is_not_the_plain_client(network: Testnet) -> None:
    user = network.user_tor()
    assert (await network.status()).socks not in user
    async with await Controller.connect(user.control) as control:
        await control.authenticate()
        assert await control.get_conf("ConfluxEnabled") == ["0"]


async def test_every_relay_has_the_same_weight(network: Testnet) -> None:
    """Else one is in every path, and twice in those to an onion service."""
    async with await Controller.connect(network.user_tor().control) as control:
        await control.authenticate()
        entries = (await control.get_info("ns/all"))["ns/all"]
    weights = re.findall(r"^w Bandwidth=(\d+)", entries, re.MULTILINE)
    assert len(weights) == 10
    assert len(set(weights)) == 1
    assert int(weights[0]) > 0


async def test_every_listening_socket_of_the_network_is_on_loopback(network: Testnet) -> None:
    supervisor = next(
        p for p in Table.read(Folders.of(network.home).processes) if p.name == "supervisor"
    )
    inodes = {
        os.readlink(f"/proc/{p.pid}/fd/{fd}")
        for p in descendants(supervisor.pid)
        if os.path.isdir(f"/proc/{p.pid}/fd")
        for fd in os.listdir(f"/proc/{p.pid}/fd")
        if os.path.islink(f"/proc/{p.pid}/fd/{fd}")
    }
    listening = [
        line.split()
        for table in ("tcp", "udp")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    mine = [f[1] for f in listening if f"socket:[{f[9]}]" in inodes]
    assert mine
    # Addresses are little-endian there: the first byte of 127.x.y.z comes last (proc(5)).
    assert all(address.partition(":")[0].endswith("7F") for address in mine)
    wide = [
        line.split()
        for table in ("tcp6", "udp6", "raw")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    assert not [f for f in wide if f"socket:[{f[9]}]" in inodes]
