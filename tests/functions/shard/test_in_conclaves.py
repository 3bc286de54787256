"""Shards in conclaves on several real boxes, whose platforms are of two vendors; only Tor is missing.

The vendors are honest ones: an emulated platform, and a quote under the root of a maker of TPMs.
"""

import contextlib
import hashlib
import time

import pytest
from tests.conclave import tpm_maker
from tests.functions.shard.test_in_boxes import Boxes, at
from tests.local_box import local_box

from bento.box import attester
from bento.client.conclave import Trust
from bento.conclave import verify_tpm
from bento.conclave.appraise import Roots
from bento.conclave.attesters.base import Hardware
from bento.conclave.attesters.emulated import EmulatedAttester, EmulatedPlatform
from bento.conclave.claims import Kind
from bento.conclave.trust import TrustPolicy
from bento.errors import AttestationError, UsageError
from bento.functions.dropbox.client import measure, read
from bento.functions.dropbox.sealing import seal
from bento.functions.dropbox.sink import FileSink
from bento.functions.dropbox.transfer import Rules
from bento.functions.shard.client import ShardGet, check, repair
from bento.functions.shard.layout import Plan
from bento.functions.shard.put import ShardPut
from bento.functions.shard.ticket import ShardTicket
from bento.functions.shard.vendors import Vendors

EMULATED, TPM = "none (emulated)", "CN=TPM root"


class TpmAttester(Hardware):
    """A platform of another maker."""

    kind = Kind.TPM

    def refresh(self, now):
        """It has nothing to fetch."""

    def evidence(self, report_data):
        return tpm_maker.tpm().evidence(report_data=report_data, crl=b"")


def tpm_runtime():
    claims = verify_tpm.verify_tpm(
        TpmAttester().evidence(bytes(64)), now(), (tpm_maker.tpm().root,)
    )
    return claims.runtime


def now():
    return int(time.time())


@pytest.fixture
async def boxes(tmp_path, monkeypatch):
    """The first two are emulated, the third is of the other maker."""
    monkeypatch.setenv("BENTO_HOME", str(tmp_path / "home"))
    platform = EmulatedPlatform.create(now())
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(local_box(attester="emulated", pool=0))
            for _ in range(3)
        ]
        measured = attester.measurement(attester.guest())
        for local in opened:
            local.conclaves._attester = EmulatedAttester(platform, measured, now())
        opened[2].conclaves._attester = TpmAttester()
        found = Boxes(opened)
        found.roots = Roots(platform.root, (tpm_maker.tpm().root,))
        yield found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(hashlib.shake_128(b"file").digest(1_200_077))
    return path


def trust(boxes, *, strict):
    policy = TrustPolicy().override(
        families=["emulated", "tpm"],
        min_level="emulated",
        runtimes=[tpm_runtime()],
        require_revocation=False,
        distinct_vendors=strict,
    )
    return Trust(policy, boxes.roots)


async def put(boxes, path, total, accepts, *, entries=None):
    content = measure(path)
    plan = Plan(2, total, content.sealed_size)
    told = []
    shard_put = ShardPut(str(path), plan, Rules(), told.append, accepts)
    key = shard_put.key(content)
    stripes = lambda: seal(key, content, read(path))  # noqa: E731
    ticket, _ = await shard_put.run(key, stripes, boxes.connect, entries or boxes.entries, ())
    return ShardTicket.parse(ticket.encode()), told


async def get(boxes, ticket, path, accepts, order=None):
    shard_get = ShardGet(ticket, str(path), accepts)
    await shard_get.run(boxes.connect, lambda _: FileSink(path), order or [0, 1])
    return path.read_bytes()


async def test_shards_wait_in_conclaves_are_fetched_and_made_anew(boxes, file, tmp_path):
    accepts = trust(boxes, strict=False)
    ticket, _ = await put(boxes, file, 3, accepts)
    assert ticket.enclosed
    assert all(shard.inner is not None for shard in ticket.shards)
    for local in boxes.locals:
        assert [i.terms.manifest.image for i in local.instances] == ["python-conclave"]
    assert await get(boxes, ticket, tmp_path / "copy", accepts) == file.read_bytes()
    with pytest.raises(AttestationError, match="2 good shards are needed; shard"):
        await get(boxes, ticket, tmp_path / "none", Trust())

    tampered = boxes.locals[at(boxes, ticket, 1) - 1]
    await tampered.instances.end(next(iter(tampered.instances)))
    # Two shards lie on emulated platforms or two vendors have one each: the good two decide.
    done = await repair(ticket, boxes.connect, boxes.entries, Rules(), trust=accepts)
    assert list(done.lost) == [1]
    vendors = Vendors(accepts, 2, 3)
    assert await check(done.ticket, boxes.connect, vendors) == {}
    assert sorted(map(vendors.of, range(3))) == [TPM, EMULATED, EMULATED]
    copy = await get(boxes, done.ticket, tmp_path / "again", accepts, [1, 2])
    assert copy == file.read_bytes()


async def test_no_vendor_holds_as_many_shards_as_bring_the_file_back(boxes, file, tmp_path):
    """Whatever boxes the dice name first."""
    strict = trust(boxes, strict=True)
    ticket, told = await put(boxes, file, 2, strict)
    assert 3 in {at(boxes, ticket, 0), at(boxes, ticket, 1)}
    assert all("2 shards would lie on hardware of" in line for line in told)
    assert len(boxes.locals[0].instances) + len(boxes.locals[1].instances) == 1
    assert await get(boxes, ticket, tmp_path / "copy", strict) == file.read_bytes()


async def test_boxes_that_cannot_satisfy_the_rule_are_refused_by_what_is_lacking(boxes, file):
    strict = trust(boxes, strict=True)
    emulated = boxes.entries[:2]
    lacking = r"1 of 2 shards found no conclave.*asks for 2 vendors.*were: none \(emulated\) \("
    with pytest.raises(AttestationError, match=lacking):
        await put(boxes, file, 2, strict, entries=emulated)
    assert sum(len(local.instances) for local in boxes.locals) == 1, "the refused one is ended"
    with pytest.raises(UsageError, match="every vendor would hold enough"):
        Vendors(strict, 1, 3)


async def test_repair_keeps_the_rule(boxes, file):
    """A shard is not made anew where its vendor would then hold two."""
    ticket, _ = await put(boxes, file, 3, trust(boxes, strict=False))
    lost = boxes.locals[2]
    await lost.instances.end(next(iter(lost.instances)))
    with pytest.raises(AttestationError, match="asks for 3 vendors"):
        await repair(
            *(ticket, boxes.connect, boxes.entries, Rules()), trust=trust(boxes, strict=True)
        )
    assert len(lost.instances) == 0


async def test_a_put_in_the_open_is_not_gone_on_with_in_conclaves(boxes, file):
    accepts = trust(boxes, strict=False)
    open_, _ = await put(boxes, file, 2, None)
    closed, _ = await put(boxes, file, 2, accepts)
    assert (open_.enclosed, closed.enclosed) == (False, True)
    assert not {shard.token for shard in open_.shards} & {shard.token for shard in closed.shards}
