"""Anonymous passes from issuer to box: good once, for whom they were made, told from nobody else's."""

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest
from tests.local_box import local_box

from bento.box import issuer as issuers
from bento.box.config import Admission, PassIssuer
from bento.box.passes import Passes
from bento.box.pricing import Pricing
from bento.client.wallet import Wallet
from bento.errors import BusyError, HostError, RemoteProtocolError, UsageError
from bento.protocol.conclave import terms_hash
from bento.protocol.door import Create
from bento.protocol.passes import Answer, Ask, Card, Pass, Secret, show

ECHO = b"def main(api):\n    api.send(b'here')\n"
DEAR = Pricing(core=1 << 50)  # nobody pays this
BOX, OTHER = b"b" * 32, b"o" * 32
WANTED = "", bytes(32)
TERMS = terms_hash(*WANTED)
DAY = 86400


@pytest.fixture(scope="module")
def club(tmp_path_factory):
    folder = tmp_path_factory.mktemp("club")
    issuers.found(folder, "club", epoch=DAY, epochs=2, uses=3)
    return folder


@pytest.fixture
def card(club):
    return issuers.Issuer(club).card


@pytest.fixture
def wallet(tmp_path):
    with contextlib.closing(Wallet(tmp_path / "wallet.sqlite")) as made:
        yield made


@pytest.fixture
def passes(tmp_path, card):
    with contextlib.closing(Passes(tmp_path / "spent.sqlite", (card,), BOX)) as made:
        yield made


def fill(wallet, club, holder):
    issuer = issuers.Issuer(club)
    ask = Ask.parse(wallet.ask(issuer.card).encode())
    return wallet.accept(Answer.parse(issuer.sign(ask, holder).encode()))


def create(shown):
    return Create(*WANTED, b"", shown)


def test_a_holder_gets_as_many_as_the_card_says_and_no_more(club, wallet, tmp_path):
    assert fill(wallet, club, "ada") == 3
    assert [(name, left) for name, _, left, _ in wallet.passes()] == [("club", 3)]
    with pytest.raises(UsageError, match="ada had 3 of 3"):
        fill(wallet, club, "ada")
    assert fill(Wallet(tmp_path / "second"), club, "bob") == 3


def test_a_pass_is_good_once_at_each_box(club, wallet, passes, card, tmp_path):
    fill(wallet, club, "once")
    raw = wallet.take([card.id], BOX, TERMS)
    shown = passes.check(create(raw))
    passes.spend(shown)
    with pytest.raises(BusyError, match="used at this box already"):
        passes.spend(passes.check(create(raw)))
    again = Passes(tmp_path / "spent.sqlite", (card,), BOX)  # a restarted bentod
    with pytest.raises(BusyError, match="used at this box already"):
        again.spend(again.check(create(raw)))
    again.restore(shown)
    again.spend(again.check(create(raw)))
    again.close()


def test_a_box_that_was_shown_a_pass_can_use_it_nowhere_else(club, wallet, card, tmp_path, passes):
    fill(wallet, club, "careful")
    raw = wallet.take([card.id], BOX, TERMS)
    other = Passes(tmp_path / "other.sqlite", (card,), OTHER)
    with pytest.raises(BusyError, match="not good"):
        other.check(create(raw))
    other.close()
    with pytest.raises(BusyError, match="not good"):
        passes.check(Create("", b"f" * 32, b"", raw))


def test_nobody_makes_passes_but_the_issuer(passes, card):
    epoch = card.epoch_at(time.time())
    with pytest.raises(BusyError, match="not good"):
        passes.check(create(show(card.id, epoch, Secret.fresh(), bytes(256), BOX, TERMS)))
    with pytest.raises(BusyError, match="not good"):
        passes.check(create(show(card.id, epoch, Secret.fresh(), b"", BOX, TERMS)))
    with pytest.raises(BusyError, match="does not honour"):
        passes.check(create(show("0" * 32, epoch, Secret.fresh(), bytes(256), BOX, TERMS)))


def test_a_pass_is_of_its_epoch(club, wallet, card, tmp_path):
    fill(wallet, club, "late")
    raw = wallet.take([card.id], BOX, TERMS)
    tomorrow = Passes(tmp_path / "t.sqlite", (card,), BOX, clock=lambda: time.time() + DAY)
    with pytest.raises(BusyError, match="does not honour"):
        tomorrow.check(create(raw))
    altered = Pass.parse(raw)
    altered.epoch += 1
    from bento.protocol.wire import encode

    with pytest.raises(BusyError, match="not good"):
        tomorrow.check(create(encode(altered)))
    tomorrow.close()


def test_what_was_spent_is_kept_no_longer_than_its_epoch(club, wallet, card, passes, tmp_path):
    with passes._spent as store:
        store.execute("INSERT INTO spent (card, epoch, key) VALUES (?, 1, x'00')", (card.id,))
    fill(wallet, club, "pruned")
    passes.spend(passes.check(create(wallet.take([card.id], BOX, TERMS))))
    with sqlite3.connect(tmp_path / "spent.sqlite") as store:
        assert store.execute("SELECT count(*) FROM spent").fetchone() == (1,)


def test_a_list_of_used_passes_that_was_damaged_or_lost_something_is_refused(
    club, wallet, card, passes, tmp_path
):
    fill(wallet, club, "damaged")
    raw = wallet.take([card.id], BOX, TERMS)
    passes.spend(passes.check(create(raw)))
    used = Pass.parse(raw).key
    files = {path.name: path.read_bytes() for path in tmp_path.glob("spent*")}
    log = next(name for name in files if name.endswith("-wal"))
    assert used in files[log]
    altered = files[log].replace(used, used[::-1])
    for number, changed in enumerate(({log: b""}, {log: files[log][:-1]}, {log: altered})):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in (files | changed).items():
            (folder / name).write_bytes(data)
        with pytest.raises(HostError, match="is damaged"):
            Passes(folder / "spent.sqlite", (card,), BOX)
    passes.close()
    file = tmp_path / "spent.sqlite"
    whole = file.read_bytes()
    for was, becomes in ((used, used[::-1]), (b"card TEXT", b"card text")):  # a row, the schema
        assert was in whole
        file.write_bytes(whole.replace(was, becomes, 1))
        with pytest.raises(HostError, match="damaged|cannot keep"):
            Passes(file, (card,), BOX)


def test_a_list_of_an_earlier_bentod_is_taken_over(club, wallet, card, tmp_path):
    fill(wallet, club, "earlier")
    raw = wallet.take([card.id], BOX, TERMS)
    used = Pass.parse(raw)
    with contextlib.closing(sqlite3.connect(tmp_path / "old.sqlite")) as old, old:
        old.execute(
            "CREATE TABLE spent (card TEXT, epoch INTEGER, key BLOB, PRIMARY KEY (card, key))"
        )
        old.execute("INSERT INTO spent VALUES (?, ?, ?)", (used.card, used.epoch, used.key))
    for _ in range(2):
        now = Passes(tmp_path / "old.sqlite", (card,), BOX)
        with pytest.raises(BusyError, match="used at this box already"):
            now.spend(now.check(create(raw)))
        now.close()


def test_the_issuer_never_sees_what_a_box_is_shown(club, wallet, card):
    issuer = issuers.Issuer(club)
    ask = wallet.ask(card)
    answer = issuer.sign(ask, "blind")
    wallet.accept(answer)
    seen = b"".join((*ask.blinded, *answer.signatures))
    while raw := wallet.take([card.id], BOX, TERMS):
        shown = Pass.parse(raw)
        for part in (shown.key, shown.prefix, shown.signature, shown.proof):
            assert part not in seen
        assert shown.signature[:16] not in seen


def test_a_pass_leaves_the_wallet_before_it_is_shown(club, wallet, card):
    fill(wallet, club, "leaving")
    taken = {wallet.take([card.id], BOX, TERMS) for _ in range(4)}
    assert len(taken) == 4 and b"" in taken  # three passes, all different, and then none


@pytest.mark.parametrize("raw", [b"", b"x", b"\0" * 600, b"\0\0\0\x01\x50"])
def test_what_is_no_pass_is_refused(passes, raw):
    if raw:
        with pytest.raises(RemoteProtocolError):
            passes.check(create(raw))


@pytest.mark.parametrize("kind", [Card, Ask, Answer])
@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"\xff", b'{"card":1,"epoch":2,"blobs":3}', b"[" * 10_000]
)
def test_any_other_file_is_told_to_be_none(kind, raw):
    with pytest.raises(UsageError, match="this is no"):
        kind.parse(raw)


def test_a_card_says_the_same_after_it_was_written_and_its_keys_are_its_name(card):
    assert Card.parse(card.encode()) == card
    other = Card(card.name, card.epoch, card.first, card.uses, card.moduli[::-1])
    assert other.id != card.id


@contextlib.asynccontextmanager
async def club_box(club, **capacity):
    issuer = PassIssuer(Path(club) / issuers.CARD, places=2)
    async with local_box(Admission(issuers=(issuer,)), **capacity) as local:
        local.turnstile.pricing = DEAR
        yield local


async def test_a_pass_takes_the_place_of_a_price_and_has_places_of_its_own(club, wallet, card):
    async with club_box(club, instances=4) as local:
        fill(wallet, club, "member")
        await local.box.install(
            ECHO
        )  # half of everybody's two places: from here on there is a price
        with pytest.raises(BusyError):
            await local.box.install(ECHO)
        member = local.box
        member.wallet = wallet
        for _ in range(2):
            _, session = await member.run(ECHO)
            assert await session.read() == b"here"
        assert (local.instances.taken(card.id), local.instances.taken("")) == (2, 1)
        assert {one.sandbox.limits.weight for one in local.instances} == {1.0, 4.0}
        member.patience = 0
        with pytest.raises(BusyError, match="keeps for such passes is full"):
            await member.install(ECHO)


async def test_no_pass_is_spent_on_an_idle_box(club, wallet):
    async with club_box(club, instances=8) as local:
        fill(wallet, club, "idle")
        member = local.box
        member.wallet = wallet
        await member.install(ECHO)
        assert [left for _, _, left, _ in wallet.passes()] == [3]


async def test_a_used_pass_is_given_up_and_the_next_one_shown(club, wallet, card, monkeypatch):
    async with club_box(club, instances=4) as local:
        fill(wallet, club, "second chance")
        await local.box.install(ECHO)
        member = local.box
        member.wallet = wallet
        local.turnstile._passes.spend = _refusing_once(local.turnstile._passes.spend)
        await member.install(ECHO)
        assert [left for _, _, left, _ in wallet.passes()] == [1]


def _refusing_once(spend):
    refusals = [BusyError("the pass was used at this box already", "")]

    def once(shown):
        if refusals:
            raise refusals.pop()
        spend(shown)

    return once


async def test_a_box_says_whose_passes_it_honours(club, card):
    async with club_box(club, instances=4) as local:
        assert (await local.box.inquire()).policy.passes == (card.id,)
