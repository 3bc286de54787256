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
            "test_channel",
            "test_evidence",
            "test_framing",
            "test_kit",
            "test_parsers",
            "test_r16_every_change_is_refused",
            "test_r5_any_bytes",
            "test_sealed_paths",
            "test_stream",
            "test_trust",
            "test_verify_dcap",
            "test_verify_snp",
            "test_verify_tpm",
        }
    ),
    "egress": frozenset(
        {
            "test_addresses",
            "test_meters",
            "test_names",
            "test_or_ports",
            "test_policy",
            "test_r5_parsers",
            "test_relay",
            "test_resolve",
            "test_routes",
            "test_rules",
            "test_socks_server",
        }
    ),
    "experiments": frozenset({"test_fingerprinting", "test_scale"}),
    "firewall": frozenset(
        {
            "test_docs",
            "test_events",
            "test_filter",
            "test_fuzz",
            "test_grammar",
            "test_keeper",
            "test_matrix",
            "test_permissions",
            "test_proxy",
            "test_reader",
            "test_small_parts",
            "test_two_functions",
        }
    ),
    "functions/balancer": frozenset({"test_fleet"}),
    "functions/browser": frozenset(
        {
            "test_answers",
            "test_jail",
            "test_pack",
            "test_packing",
            "test_parts",
            "test_sizes",
            "test_stillness",
            "test_warc",
        }
    ),
    "functions/cover": frozenset(
        {"test_ends", "test_frames", "test_garbage", "test_observer", "test_terms"}
    ),
    "functions/dropbox": frozenset({"test_sealing", "test_status"}),
    "functions/shard": frozenset({"test_diversity", "test_r10_any_k_of_n"}),
    "onion": frozenset(
        {
            "test_blinding",
            "test_cells",
            "test_certs",
            "test_circuit",
            "test_congestion",
            "test_cover",
            "test_crowding",
            "test_descriptor",
            "test_directory",
            "test_hs_ntor",
            "test_hsdir",
            "test_intro",
            "test_kept",
            "test_layers",
            "test_link",
            "test_ntor",
            "test_padding",
            "test_public",
            "test_relay",
            "test_tls_link",
        }
    ),
    "protocol": frozenset(
        {
            "test_blindrsa",
            "test_capability",
            "test_door",
            "test_manifest",
            "test_padding",
            "test_policy",
            "test_puzzle",
            "test_r5_frames",
            "test_r5_tokens",
            "test_streams",
            "test_ticket",
            "test_values",
            "test_wire",
        }
    ),
    "safelog": frozenset({"test_lines", "test_no_other_logging", "test_sensitive"}),
    "tor": frozenset(
        {
            "test_announcement",
            "test_boxes",
            "test_circuits",
            "test_consensus",
            "test_control_codec",
            "test_descriptors",
            "test_path",
            "test_planner",
            "test_relay_cache",
            "test_socks",
        }
    ),
}
"""Room -> its modules of unit tests."""

OTHERS = frozenset(
    {
        "test_channel::test_the_guests_modules_bring_no_verifier",
        "test_channel::test_the_guests_side_runs_on_debians_python_too",
        "test_capability::test_a_conclaves_guest_can_check_tokens_with_the_bare_standard_library",
    }
)
"""Tests in them that are none."""


def is_unit(module: PurePath, test: str) -> bool:
    """Of a test module's path below `tests/` and a function in it."""
    units = ROOMS.get(str(module.parent), frozenset())
    return module.stem in units and f"{module.stem}::{test}" not in OTHERS


def no_process():
    """While it is entered, nothing can be started."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a unit test starts no process: see tests/units.py")

    return mock.patch.multiple(
        os, fork=refuse, posix_spawn=refuse, posix_spawnp=refuse, system=refuse
    ), mock.patch.object(subprocess.Popen, "_execute_child", refuse)
