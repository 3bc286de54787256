"""R17: a box cannot tell one user's two functions from two users' one each, and sizes do not tell a guard
which shipped function was uploaded. A linkable client is caught by the same linker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import numpy as np
import pytest
from tests.client.linker import RACY, SIZES, Linker, View, auc_interval
from tests.door_tap import DoorTap
from tests.local_box import local_box

from bento.box.config import Admission
from bento.client.box import Box
from bento.client.instance import Instance
from bento.client.upload import Upload
from bento.protocol.padding import DOOR_CLASS, UPLOAD_CLASS, padded

FIRST = b"def main(api, who): api.send(b'1' * 1000)"
SECOND = b"import time\n\ndef main(api, who, more):\n    api.send(b'2' * 5000)  # another function"
GUESSING = 0.55


class User:
    """Somebody with a name as long as it is, as their own arguments have it."""

    def __init__(self, rng):
        self.name = "n" * int(rng.integers(1, 2000))
        self.sign = rng.bytes(4)
        self.delay = float(rng.uniform(0, 0.1))


async def visit(there: Box, upload: bytes, user: User) -> None:
    words = [user.name] if upload is FIRST else [user.name, "more"]
    instance, session = await there.run(upload, *words)
    assert len(await session.read()) in (1000, 5000)
    await instance.shutdown()


class Honest:
    """The client as it is."""

    @contextlib.contextmanager
    def acting(self, user, patch):
        yield


class Signing(Honest):
    """Session names that begin alike."""

    @contextlib.contextmanager
    def acting(self, user, patch):
        def named(instance):
            return instance.ticket.session(user.sign + secrets.token_bytes(12), instance.owner)

        patch.setattr(Instance, "session_name", named)
        yield


class Unpadded(Honest):
    """First messages as large as they happen to be."""

    @contextlib.contextmanager
    def acting(self, user, patch):
        for module in ("box", "upload"):
            patch.setattr(f"bento.client.{module}.fill", lambda size, smallest: b"")
        patch.setattr("bento.protocol.door.fill", lambda size, smallest: b"")
        yield


class Slow(Honest):
    """A machine that takes its own time to answer."""

    @contextlib.contextmanager
    def acting(self, user, patch):
        send = Upload.send

        async def later(*args):
            await asyncio.sleep(user.delay)
            await send(*args)

        patch.setattr(Upload, "send", later)
        yield


async def views_of(client: Honest, users: int, seed: int):
    """(views of everybody's first function, views of everybody's second), in the users' order."""
    rng = np.random.default_rng(seed)
    people = [User(rng) for _ in range(users)]
    visits = [(user, which) for user in range(users) for which in (0, 1)]
    rng.shuffle(visits)  # whatever drifts meanwhile must not link anybody
    seen, shut = [[None] * users, [None] * users], set()
    unpriced = Admission(priced=False)  # so many visits in a row would count as a flood
    async with local_box(unpriced, pool=2) as local:
        with contextlib.ExitStack() as stack:
            async with DoorTap(local).running() as tap:
                for user, which in visits:
                    patch = stack.enter_context(pytest.MonkeyPatch.context())
                    with client.acting(people[user], patch):
                        await visit(tap.box, (FIRST, SECOND)[which], people[user])
                    patch.undo()
                    run, shutdown = tap.recordings[-2:]
                    seen[which][user] = View(run.pieces)
                    shut.add(len(shutdown.sent(True)))
    return seen, shut


def judge(seen, *, others, numbers=(*SIZES, *RACY), seed=1):
    rng = np.random.default_rng(seed)
    return auc_interval(*Linker(*seen, numbers).scores(rng, others), rng)


async def test_r17_two_functions_of_one_user_have_nothing_in_common_that_a_message_says():
    (first, second), shutdowns = await views_of(Honest(), 8, 3)
    assert {view.flights() for view in (*first, *second)} == {
        (padded(1, DOOR_CLASS), padded(1, UPLOAD_CLASS))
    }
    assert shutdowns == {padded(1, DOOR_CLASS)}
    names = [view.names() for view in (*first, *second)]
    assert len({each["hello"] for each in names}) == 1
    for what in ("session", "owner"):
        values = [each[what] for each in names]
        prefixes = {value[:4] for value in values}
        assert len(prefixes) == len(values), what


@pytest.mark.parametrize("client", [Signing(), Unpadded()], ids=lambda c: type(c).__name__)
async def test_r17_a_linkable_client_is_caught(client):
    seen, _ = await views_of(client, 24, 5)
    low, found, _ = judge(seen, others=4, numbers=SIZES)
    assert found > 0.95
    assert low > GUESSING


@pytest.mark.campaign
async def test_r17_full_count_a_linker_with_the_boxs_whole_view_guesses():
    seen, _ = await views_of(Honest(), 1000, 17)
    low, found, high = judge(seen, others=10)
    print(
        f"\nR17: AUC {found:.3f} [{low:.3f}, {high:.3f}], 1000 users, 1000 pairs of one, 10000 of two"
    )
    assert high < GUESSING


@pytest.mark.campaign
@pytest.mark.parametrize("client", [Signing(), Unpadded(), Slow()], ids=lambda c: type(c).__name__)
async def test_r17_full_count_each_linkable_client_is_caught(client):
    seen, _ = await views_of(client, 100, 18)
    low, found, high = judge(seen, others=10)
    print(f"\nR17: {type(client).__name__}: AUC {found:.3f} [{low:.3f}, {high:.3f}]")
    assert low > 0.8
