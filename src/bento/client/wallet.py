"""A user's passes, in one file at home: asked for, accepted, shown once.

A pass leaves the file before it is shown: it is never shown with two requests, which would tie them
together.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from bento.errors import HostError, RemoteProtocolError, UsageError
from bento.home import bento_home
from bento.protocol import blindrsa
from bento.protocol.passes import Answer, Ask, Card, Secret, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_FILE = "passes.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS asked (card TEXT, epoch INTEGER, place INTEGER, raw_card BLOB,
    seed BLOB, prefix BLOB, inverse BLOB, PRIMARY KEY (card, epoch, place));
CREATE TABLE IF NOT EXISTS pass (card TEXT, epoch INTEGER, name TEXT, ends INTEGER,
    seed BLOB, prefix BLOB, signature BLOB);
"""


class Wallet:
    """Open it with `Wallet.at_home()`; several programs may do so at once."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        try:
            file.touch(mode=0o600)
            self._store = sqlite3.connect(file, isolation_level=None)
            self._store.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise HostError(f"cannot use {file}: {error}") from None

    @classmethod
    def at_home(cls) -> Wallet:
        return cls(bento_home() / _FILE)

    @classmethod
    def existing(cls) -> Wallet | None:
        """The wallet of somebody who asked for passes once."""
        return cls.at_home() if (bento_home() / _FILE).exists() else None

    def close(self) -> None:
        self._store.close()

    def ask(self, card: Card) -> Ask:
        """A request for all passes of the present epoch. What was asked for before is forgotten."""
        epoch = card.epoch_at(self._clock())
        key = card.key(epoch)
        if key is None:
            raise UsageError("the card has no key for today", "get the issuer's present card")
        blinded = []
        self._store.execute("BEGIN IMMEDIATE")
        self._store.execute("DELETE FROM asked WHERE (card, epoch) = (?, ?)", (card.id, epoch))
        for place in range(card.uses):
            secret = Secret.fresh()
            sent, inverse = blindrsa.blind(key, secret.prepared)
            blinded.append(sent)
            row = card.id, epoch, place, card.encode(), secret.seed, secret.prefix
            size = len(sent)
            row_of = "INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?, ?)"
            self._store.execute(row_of, (*row, inverse.to_bytes(size, "big")))
        self._store.execute("COMMIT")
        return Ask(card.id, epoch, tuple(blinded))

    def accept(self, answer: Answer) -> int:
        """Turns an issuer's answer into passes; how many.

        Raises UsageError for one that was not asked for, RemoteProtocolError for a wrong one."""
        rows = self._store.execute(
            "SELECT raw_card, seed, prefix, inverse FROM asked WHERE (card, epoch) = (?, ?)"
            " ORDER BY place",
            (answer.card, answer.epoch),
        ).fetchall()
        if len(rows) != len(answer.signatures):
            raise UsageError("these passes were not asked for here", "accept each answer once")
        passes = list(_finished(answer, rows))
        self._store.execute("BEGIN IMMEDIATE")
        self._store.executemany("INSERT INTO pass VALUES (?, ?, ?, ?, ?, ?, ?)", passes)
        named = (answer.card, answer.epoch)
        self._store.execute("DELETE FROM asked WHERE (card, epoch) = (?, ?)", named)
        self._store.execute("COMMIT")
        return len(passes)

    def passes(self) -> list[tuple[str, str, int, int]]:
        """(issuer's name, card, how many are left, when they end), of those that are still good."""
        return self._store.execute(
            "SELECT name, card, count(*), ends FROM pass WHERE ends > ? GROUP BY card, epoch",
            (self._clock(),),
        ).fetchall()

    def take(self, cards: Iterable[str], box_key: bytes, request: bytes) -> bytes:
        """A pass of one of `cards` for one request to one box; empty when there is none. It is gone."""
        for card in cards:
            row = self._store.execute(
                "DELETE FROM pass WHERE rowid = (SELECT min(rowid) FROM pass"
                " WHERE card = ? AND ends > ?) RETURNING epoch, seed, prefix, signature",
                (card, self._clock()),
            ).fetchone()
            if row is not None:
                epoch, seed, prefix, signature = row
                return show(card, epoch, Secret(seed, prefix), signature, box_key, request)
        return b""


def _finished(
    answer: Answer, rows: list[tuple[bytes, bytes, bytes, bytes]]
) -> Iterator[tuple[object, ...]]:
    for (raw, seed, prefix, inverse), signed in zip(rows, answer.signatures, strict=True):
        card, secret = Card.parse(raw), Secret(seed, prefix)
        key = card.key(answer.epoch)
        if key is None:
            raise RemoteProtocolError("the card has no key for that epoch")
        factor = int.from_bytes(inverse, "big")
        signature = blindrsa.finalize(key, secret.prepared, signed, factor)
        ends = (answer.epoch + 1) * card.epoch
        yield answer.card, answer.epoch, card.name, ends, seed, prefix, signature
