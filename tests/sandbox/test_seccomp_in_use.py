"""R2: no rule of the filter is idle. Both images work in the open, and every rule is made use of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.sandbox.chromium import CHROMIUM
from tests.sandbox.conftest import Spawner
from tests.sandbox.inside import run
from tests.sandbox.trace import Calls, traced
from tests.sandbox.workload import LIBRARY, PAGE, PROGRAMS

from bento.sandbox import IMAGES
from bento.sandbox.seccomp_table import PROFILES, Rule

# What Python's library asks for and does without.
REFUSED = {*PROFILES["python"].absent, *PROFILES["python"].unsupported}


async def python_at_work(spawner: Spawner, folder: Path) -> Calls:
    """Python's own library, and the libraries of the image."""
    limits = replace(IMAGES["python"].limits, cpu=2.0, memory=256 << 20)
    sandbox = await spawner(limits=limits)
    async with traced(sandbox, folder) as calls:
        assert await run(sandbox, LIBRARY) == ""
    return calls


async def browser_at_work(spawner: Spawner, folder: Path) -> Calls:
    """Chromium with a page, and the machine's small programs."""
    sandbox = await spawner("browser")
    async with traced(sandbox, folder) as calls:
        assert await run(sandbox, PROGRAMS) == ""
        await run(sandbox, CHROMIUM)
        assert await run(sandbox, PAGE) == 2
    return calls


async def test_every_rule_is_made_use_of_by_an_image(spawner: Spawner, tmp_path: Path) -> None:
    seen = {
        "python": await python_at_work(spawner, tmp_path),
        "browser": await browser_at_work(spawner, tmp_path),
    }
    idle = {rule for name in seen for rule in rules(name)} - {
        rule for name, calls in seen.items() for rule in rules(name) if calls.need(rule)
    }
    assert [rule for rule in idle if not rule.spare] == []
    assert seen["python"].names - {rule.call for rule in rules("python")} <= REFUSED


def rules(profile: str) -> tuple[Rule, ...]:
    return (*PROFILES[profile].rules, *PROFILES[profile].grouped)
