"""What all tests share: a home that is not the user's, and one private network a run."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from tests.blindness import (
    FOLDER,
    OF_A_FILE,
    Blindness,
    search,
    told_by_commands,
    watch_sandboxes,
)
from tests.canaries import Canaries
from tests.conclave_views import standing
from tests.lanes import lane, rank
from tests.local_box import LocalBox
from tests.units import is_unit, no_process

from bento.client.instance import Instance
from bento.testnet import Testnet

# A busy machine makes any single example slow: time is no promise of these tests.
settings.register_profile("bento", deadline=None)
settings.load_profile("bento")


_TESTS = Path(__file__).parent


def pytest_configure() -> None:
    # The processes of `make test` must find the same tests in the same order, also where a set gives it.
    os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(1 << 32)))


def pytest_itemcollected(item: pytest.Item) -> None:
    if not item.path.is_relative_to(_TESTS):
        return
    module = item.path.relative_to(_TESTS)
    if is_unit(module, getattr(item, "originalname", item.name)):
        item.add_marker(pytest.mark.unit)
    item.add_marker(pytest.mark.xdist_group(_lane(item)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: rank(_lane(item)))


def _lane(item: pytest.Item) -> str:
    module = item.path.relative_to(_TESTS)
    return lane(module, frozenset(getattr(item, "fixturenames", ())))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with ExitStack() as stack:
        if item.get_closest_marker("unit"):
            for patch in no_process():
                stack.enter_context(patch)
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def bento_home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Commands and tests find the network of the tests, and nothing of the user's own.

    The folder survives the run, so that the next one starts from saved state; runs at the same
    time have one each.
    """
    cache = getattr(request.config, "cache", None)  # none with -p no:cacheprovider
    folder = cache.mkdir("bento-homes") if cache else tmp_path_factory.mktemp("bento-homes")
    with ExitStack() as stack:
        home = next(h for h in _homes(folder) if _is_mine(h, stack))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("BENTO_HOME", str(home))
        yield home


def _homes(folder: Path) -> Iterator[Path]:
    return (folder / str(number) for number in itertools.count(1))


def _is_mine(home: Path, stack: ExitStack) -> bool:
    """Whether no other run uses it; then it is locked as long as `stack` is open."""
    home.mkdir(exist_ok=True)
    lock = os.open(home / "run.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def canaries(bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    """R15: what is planted here in any test must be in no log, process list or file name of the whole run.

    Every ticket is planted by itself.
    """
    kept = Canaries([bento_home], [tmp_path_factory.getbasetemp()])
    made = Instance.__init__

    def noted(self: Instance, *args: object, **named: object) -> None:
        made(self, *args, **named)
        for ticket in (self.ticket, self.shutdown_ticket):
            if ticket is not None:
                kept.add_all_of("ticket", ticket)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Instance, "__init__", noted)
        kept.start()
        yield kept
        kept.stop()
    assert kept.found() == []


@pytest.fixture(scope="session", autouse=True)
def blindness(
    canaries: Canaries, bento_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Blindness]:
    """Relay blindness of every conclave of the whole run; see tests/blindness.py."""
    watch, notes = Blindness(), tmp_path_factory.mktemp("blindness")

    def closing(self: LocalBox) -> None:
        watch.look(standing([], self.config.state, self.config.run, most=OF_A_FILE))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(notes))
        patch.setattr(LocalBox, "closing", closing)
        watch.install(patch)
        watch_sandboxes(patch, watch)
        yield watch
    secrets, leaked, _ = told_by_commands(notes)
    stores = standing([], *bento_home.glob("testnet/*/bentod"), most=OF_A_FILE)
    assert watch.found() + sorted(leaked | search(secrets, stores)) == []
    for word, what in {**watch.secrets(), **secrets}.items():
        canaries.add(f"{what} of a conclave", word)


@pytest.fixture(scope="session")
def network(bento_home: Path) -> Iterator[Testnet]:
    """The private network with three boxes, started once and shared by all tests that ask for it.

    It runs in processes of its own, so it belongs to no event loop; it ends with the run, also
    when the run is killed. A test must leave it as it was.
    """
    running = Testnet(home=bento_home)
    asyncio.run(_fresh(running))
    yield running
    asyncio.run(running.down())


async def _fresh(running: Testnet) -> None:
    await running.down()  # what a killed run may have left
    await running.up(owner=os.getpid())
