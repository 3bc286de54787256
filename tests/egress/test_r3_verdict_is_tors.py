"""R3: what a function may reach is what a Tor user could reach through this exit, less what is
not the public Internet.

Two oracles: stem's evaluation of the same policy, and a real exit relay that is asked over a real
circuit inside a network namespace from which nothing can leave (`real_tor.py`)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stem.exit_policy import ExitPolicy as StemPolicy
from tests.egress.exit_cases import Policy, generate

from bento.egress import EgressPolicy, EgressRules, IPAddress, Question
from bento.egress.addresses import canonical, embedded, internal
from bento.tor.exit_policy import ExitPolicy

EVERYTHING = EgressRules.parse(["*:*"])
Oracle = Callable[[IPAddress, int], bool]


def check(places: list[tuple[IPAddress, int]], exit_policy: ExitPolicy, tor: Oracle) -> int:
    """Every verdict equals the oracle's, but for addresses that are refused before. How many were
    allowed."""
    policy = EgressPolicy(rules=EVERYTHING, exit_policy=exit_policy)
    allowed = 0
    for ip, port in places:
        assert exit_policy.allows(ip, port) == tor(ip, port), (ip, port)
        ends = {canonical(ip), *embedded(canonical(ip))}
        verdict = policy.verdict(None, ip, port)
        assert verdict.allowed == all(not internal(end) and tor(end, port) for end in ends), (
            ip,
            port,
            verdict,
        )
        assert verdict.question in (None, Question.ADDRESS, Question.EXIT)
        allowed += verdict.allowed
    return allowed


def ends_of(policy: Policy) -> list[tuple[IPAddress, int]]:
    """Every place, and the IPv4 addresses inside it: tor is asked about them too."""
    return list(
        dict.fromkeys(
            (end, port)
            for ip, port in policy.places
            for end in (ip, canonical(ip), *embedded(ip))
            if int(end)
        )
    )


def test_r3_verdicts_equal_stems() -> None:
    allowed = 0
    for policy in generate(policies=50, places=40, seed=3):
        rules = policy.options["ExitPolicy"]
        own = ExitPolicy.parse(rules, torrc=True)
        stem = StemPolicy(*str(own).split("\n"))
        allowed += check(
            ends_of(policy), own, lambda ip, port, stem=stem: stem.can_exit_to(str(ip), port)
        )
    assert allowed > 100


async def ask_a_real_exit(policies: int, places: int, seed: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.egress.real_tor"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin and process.stdout
    compared = allowed = 0
    try:
        for policy in generate(policies, places, seed):
            asked = ends_of(policy)
            job = {"options": policy.options, "cases": [(str(ip), port) for ip, port in asked]}
            process.stdin.write(json.dumps(job).encode() + b"\n")
            await process.stdin.drain()
            answer = json.loads(await asyncio.wait_for(process.stdout.readline(), 600))
            verdicts = dict(zip(asked, answer["allowed"], strict=True))
            allowed += check(
                asked,
                ExitPolicy.parse(answer["policy"]),
                lambda ip, port, verdicts=verdicts: verdicts[ip, port],
            )
            compared += len(asked)
    finally:
        process.stdin.close()  # The network is taken down in order, not killed.
        assert await asyncio.wait_for(process.wait(), 120) == 0
    assert compared >= policies * places
    assert allowed > compared // 50


async def test_r3_verdicts_equal_a_real_exits() -> None:
    await ask_a_real_exit(policies=10, places=50, seed=1)


@pytest.mark.campaign
async def test_r3_ten_thousand_verdicts_equal_a_real_exits() -> None:
    await ask_a_real_exit(policies=100, places=100, seed=2)
