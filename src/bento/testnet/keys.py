"""The authority's keys: the only ones a network needs before its first process starts.

Relays make theirs when they start. Made once and kept: the other nodes know the authority by
their fingerprints. Both are made by tor's own programs.
"""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from bento.errors import HostError
from bento.testnet.layout import DIR_PORT, OR_PORT, Node

_VALIDITY_MONTHS = "12"
_RENEW_BEFORE = 30 * 86_400
"""Seconds before the certificate's end at which new keys are made: no network runs that long."""
_PASSPHRASE = b"test network\n"
"""tor-gencert insists on one. These keys protect nothing: they sign for loopback addresses."""


async def authority_line(node: Node, empty_file: Path) -> str:
    """The value of `DirAuthority` for `node`; makes its keys first if there are none.

    `empty_file` stands for a configuration file (tor refuses /dev/null). Raises `HostError`.
    """
    certificate = await _certificate(node)
    fingerprint = await _fingerprint(node, empty_file)
    identity = _search(r"^fingerprint ([0-9A-F]{40})$", certificate)
    return (
        f"{node.name} orport={OR_PORT} no-v2 v3ident={identity}"
        f" {node.address}:{DIR_PORT} {fingerprint}"
    )


async def _certificate(node: Node) -> Path:
    folder = node.data / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    node.data.chmod(0o700)
    path = folder / "authority_certificate"
    if not path.exists() or _expires(path) - time.time() < _RENEW_BEFORE:
        # -c comes last into being, so an interrupted run is started again from nothing.
        for leftover in folder.glob("authority_*"):
            leftover.unlink()
        await _run(
            "tor-gencert", "--create-identity-key", "--passphrase-fd", "0",
            "-m", _VALIDITY_MONTHS,  # no -a: tor would hold on to an address the network has left
            "-i", str(folder / "authority_identity_key"),
            "-s", str(folder / "authority_signing_key"),
            "-c", str(path),
        )  # fmt: skip
    return path


def _expires(certificate: Path) -> float:
    """Seconds since the epoch (dir-spec 3.1)."""
    text = _search(r"^dir-key-expires (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$", certificate)
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


async def _fingerprint(node: Node, empty_file: Path) -> str:
    path = node.data / "fingerprint"
    if not path.exists():
        await _run(
            "tor", "--list-fingerprint", "--quiet", "--orport", "1",
            "--dirauthority", f"x 127.0.0.1:1 {'F' * 40}",
            "--datadirectory", str(node.data), "--nickname", node.name,
            "-f", str(empty_file), "--defaults-torrc", str(empty_file),
        )  # fmt: skip
    return _search(r"^\S+ ([0-9A-F]{40})$", path)


async def _run(*command: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=STDOUT
        )
    except FileNotFoundError as error:
        raise HostError(f"{command[0]} is not installed", "apt-get install tor") from error
    output, _ = await process.communicate(_PASSPHRASE)
    if process.returncode:
        last = output.decode(errors="replace").strip().rpartition("\n")[2]
        raise HostError(f"{command[0]} could not make the authority's keys: {last}")


def _search(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    if found is None:
        raise HostError(f"{path} is damaged", f"remove {path.parent} and start the network again")
    return found[1]
