"""The passes a box honours: each once.

What was shown is kept on disk until its epoch is over, and is there before the instance is: a pass
shown to a box that was killed in between is lost, never good twice.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from bento.box import rowsums, witness
from bento.errors import BusyError, HostError, UsageError
from bento.protocol.conclave import terms_hash
from bento.protocol.passes import Card, Pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bento.box.config import Config
    from bento.protocol.door import Create

_TABLES: rowsums.Tables = {"spent": (("card", "epoch", "key"), ("card", "key"))}
_FORMATS = (
    (  # without IF NOT EXISTS no file of a bentod that did not number its formats could be read
        "CREATE TABLE IF NOT EXISTS spent"
        " (card TEXT, epoch INTEGER, key BLOB, PRIMARY KEY (card, key))",
    ),
    (*rowsums.statements(_TABLES), *witness.FORMAT),
    rowsums.SEAL,
)
"""As the journal's: what leads from format N to N + 1."""
_SEALED = 3

_ERA = "always"  # every commit is synced: no end of the machine may take one back


def load_cards(config: Config) -> tuple[Card, ...]:
    """The cards of the issuers that the operator named. Raises UsageError with the one that is bad."""
    cards = []
    for issuer in config.admission.issuers:
        try:
            cards.append(Card.parse(issuer.card.read_bytes()))
        except OSError as error:
            raise UsageError(f"cannot read {issuer.card}: {error.strerror}") from None
    return tuple(cards)


class Passes:
    """`box_key` is the SHA-256 of the box's public key, to which passes are shown."""

    def __init__(
        self,
        file: Path,
        cards: Sequence[Card],
        box_key: bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cards = {card.id: card for card in cards}
        self._box_key = box_key
        self._clock = clock
        self._seen = witness.Witness(witness.path_of(file), _ERA)
        self._spent = _open(file, self._seen)

    def close(self) -> None:
        self._spent.close()
        self._seen.close()

    def check(self, request: Create) -> Pass:
        """The pass in `request`, found good but not looked up yet.

        Raises RemoteProtocolError on what is no pass, BusyError on one that is not good here now."""
        shown = Pass.parse(request.shown)
        card = self._cards.get(shown.card)
        if card is None or shown.epoch != card.epoch_at(self._clock()):
            raise _refused("is of an issuer or of a time that this box does not honour")
        key = card.key(shown.epoch)
        terms = terms_hash(request.manifest, request.function)
        if key is None or not shown.is_of(key) or not shown.is_for(self._box_key, terms):
            raise _refused("is not good")
        return shown

    def spend(self, shown: Pass) -> None:
        """From here on it was used. Raises BusyError when it was before."""
        row = shown.card, shown.epoch, shown.key
        with self._counted():
            added = self._spent.execute(
                "INSERT OR IGNORE INTO spent (card, epoch, key) VALUES (?, ?, ?)", row
            )
            if not added.rowcount:
                raise _refused("was used at this box already")
            over = "DELETE FROM spent WHERE card = ? AND epoch < ?"
            self._spent.execute(over, (shown.card, shown.epoch))

    def restore(self, shown: Pass) -> None:
        """The box failed to give what it was for."""
        with self._counted():
            row = shown.card, shown.key
            self._spent.execute("DELETE FROM spent WHERE (card, key) = (?, ?)", row)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """One transaction, witnessed."""
        with self._spent:
            yield
            number = witness.count(self._spent)
        self._seen.note(number)


def _open(file: Path, seen: witness.Witness) -> sqlite3.Connection:
    try:
        fresh = not file.exists() or not file.stat().st_size
        connection = sqlite3.connect(file)
        file.chmod(0o600)
        try:
            _prepare(connection, file, seen)
            if fresh:  # from here an empty one is new, and never one that lost its log
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        raise HostError(f"cannot keep used passes in {file}: {error}") from None
    return connection


def _prepare(connection: sqlite3.Connection, file: Path, seen: witness.Witness) -> None:
    for setting in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}")
    rowsums.install(connection)
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_FORMATS):
        raise HostError(f"{file} is a newer bentod's", "use that one")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        whole = rowsums.upgrade(connection, _FORMATS, _SEALED)
        if version and (
            not whole
            or rowsums.damaged(connection, _TABLES | witness.TABLES)
            or seen.contradicts(connection)
        ):
            raise HostError(
                f"the list of used passes {file} is damaged",
                "move it away once the epoch of the passes in it is over: a new one honours them again",
            )
        number = witness.count(connection)
    seen.note(number)


def _refused(why: str) -> BusyError:
    return BusyError(f"the pass {why}", "ask without it, or show another one")
