"""The authority's keys are made once, by tor's own programs, and renewed in time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from bento.errors import HostError
from bento.testnet.keys import authority_line
from bento.testnet.layout import Layout, Size

LINE = re.compile(
    r"auth orport=9001 no-v2 v3ident=([0-9A-F]{40}) 127\.77\.0\.1:9030 ([0-9A-F]{40})"
)


@pytest.fixture
def plan(tmp_path: Path) -> Layout:
    (tmp_path / "empty").write_text("")
    return Layout(Size(), 77, tmp_path, tmp_path)


async def line(plan: Layout) -> tuple[str, ...]:
    match = LINE.fullmatch(await authority_line(plan.authority, plan.data / "empty"))
    assert match is not None
    return match.groups()


def certificate(plan: Layout) -> Path:
    return plan.authority.data / "keys/authority_certificate"


async def test_they_are_made_once(plan: Layout) -> None:
    assert await line(plan) == await line(plan)


async def test_a_start_that_was_interrupted_is_no_obstacle(plan: Layout) -> None:
    keys = certificate(plan).parent
    keys.mkdir(parents=True)
    (keys / "authority_identity_key").write_text("half")
    await line(plan)


async def test_a_certificate_near_its_end_is_renewed(plan: Layout) -> None:
    identity, relay = await line(plan)
    soon = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 86_400))
    text = certificate(plan).read_text()
    certificate(plan).write_text(re.sub(r"(dir-key-expires ).*", rf"\g<1>{soon}", text))
    new_identity, same_relay = await line(plan)
    assert new_identity != identity
    assert same_relay == relay


async def test_a_damaged_certificate_is_named(plan: Layout) -> None:
    await line(plan)
    certificate(plan).write_text("nonsense")
    with pytest.raises(HostError, match="authority_certificate is damaged"):
        await line(plan)
