"""What a lying box says of a dropbox is refused, never a fault of ours."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from bento.errors import RemoteProtocolError
from bento.functions.dropbox.transfer import status

TRUE = {
    "size": 9,
    "stored": 9,
    "disk": 1 << 20,
    "served": 0,
    "expires": 1_800_000_000,
    "gets": None,
    "gets_left": None,
    "max_bytes": None,
}


class Liar:
    """An instance that answers `status` with these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def invoke(self, what: str):
        assert what == "status"

        @asynccontextmanager
        async def session():
            yield self._answer()

        return session()

    async def _answer(self):
        for piece in self._pieces:
            yield piece


def said(**changed: object) -> bytes:
    return json.dumps({**TRUE, **changed}).encode()


async def test_a_true_one_is_taken() -> None:
    assert await status(Liar(said())) == TRUE  # type: ignore[arg-type]
    assert (await status(Liar(said(gets=3, gets_left=2))))["gets_left"] == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 4000,
        b"\xff",
        said(expires=1 << 60),
        said(expires=None),
        said(stored=-1),
        said(disk="\x1b[2J"),
        said(size=True),
        said(served=1.5),
        said(more=1),
    ],
)
async def test_anything_else_is_refused(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="did not describe"):
        await status(Liar(answer))  # type: ignore[arg-type]


async def test_an_endless_one_is_not_read_to_its_end() -> None:
    with pytest.raises(RemoteProtocolError, match="did not describe"):
        await status(Liar(*[b" " * 1000] * 10_000_000))  # type: ignore[arg-type]
