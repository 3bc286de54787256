"""Which tests are unit tests (`make unit`): those of the pure rooms, which start no process.

A list and not a mark in each file, so that it can be read as a whole; that it tells the truth is checked
while they run: a unit test that starts a program fails.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import PurePath
from unittest import mock

ROOMS: dict[str, frozenset[str]] = {
    "conclave": frozenset(
        {
            *("test_attesters", "test_process", "test_runtime", "test_storage"),
            "test_channel::test_the_guests_modules_bring_no_verifier",
            "test_channel::test_the_guests_side_runs_on_debians_python_too",
        }
    ),
    "egress": frozenset(
        {"test_in_a_box", "test_proxy", "test_r3_verdict_is_tors", "test_through_tor"}
    ),
    "experiments": frozenset(),
    "firewall": frozenset({"test_real_tor"}),
    "functions/balancer": frozenset(),
    "functions/browser": frozenset(
        {
            *("test_cdp", "test_chromium", "test_client", "test_guest", "test_in_a_box"),
            *("test_record", "test_replay"),
        }
    ),
    "functions/dropbox": frozenset({"test_in_a_box", "test_restart"}),
    "functions/shard": frozenset({"test_in_boxes", "test_in_conclaves"}),
    "onion": frozenset({"test_network_circuits", "test_network_service", "test_tls"}),
    "protocol": frozenset(
        {"test_capability::test_a_conclaves_guest_can_check_tokens_with_the_bare_standard_library"}
    ),
    "safelog": frozenset({"test_takeover"}),
    "tor": frozenset(
        {
            *("test_controller", "test_discovery", "test_exit_policy", "test_onion_service"),
            *("test_process", "test_public_names", "test_real_circuits"),
        }
    ),
}
"""Room -> its modules and tests that are none, because they need a program, a network or a browser."""


def is_unit(module: PurePath, test: str) -> bool:
    """Of a test module's path below `tests/` and a function in it."""
    others = ROOMS.get(str(module.parent))
    return others is not None and others.isdisjoint((module.stem, f"{module.stem}::{test}"))


def no_process():
    """While it is entered, nothing can be started."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a unit test starts no process: see tests/units.py")

    return mock.patch.multiple(
        os, fork=refuse, posix_spawn=refuse, posix_spawnp=refuse, system=refuse
    ), mock.patch.object(subprocess.Popen, "_execute_child", refuse)
