"""`bentod check`: everything a box relies on, looked at in one run; and what `bentod run` insists on.

A finding is present, missing, or untestable on this machine. Nothing is changed and nothing stays: a
sandbox is started and ended, the relay's tor is asked, and no key is made.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from bento.box.config import Config, load
from bento.box.relay_lines import Expected, compare
from bento.errors import BentoError, HostError, TorError
from bento.guest import blob
from bento.sandbox import check as check_layers
from bento.sandbox import hierarchies, runtime_named
from bento.tor.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bento.sandbox import Layer

_ATTESTERS = {"gramine-sgx": (), "tsm": ("tsm",), "tpm": ("tpm",), "emulated": ("emulated",)}


_DAY = 86400  # seconds


class State(Enum):
    PRESENT = "present"
    MISSING = "missing"
    UNTESTABLE = "untestable"


@dataclass(frozen=True, slots=True)
class Finding:
    """`accepted`: missing, and the configuration says that this is known."""

    area: str
    name: str
    state: State
    detail: str
    accepted: bool = False

    @property
    def is_problem(self) -> bool:
        return self.state is State.MISSING and not self.accepted


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, and the lines that the relay's torrc needs for this configuration."""

    findings: tuple[Finding, ...]
    torrc: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(finding.is_problem for finding in self.findings)


def require(layers: Iterable[Layer], images: Sequence[str], without: Sequence[str]) -> None:
    """Raises HostError naming every layer that is missing, unless `without` names it."""
    found = [finding for finding in _jail(layers, images, without) if finding.is_problem]
    if found:
        names = "; ".join(f"{finding.name} ({finding.detail})" for finding in found)
        known = ", ".join(f'"{finding.name}"' for finding in found)
        raise HostError(
            f"this machine lacks layers of the jail: {names}",
            f"bentod check tells all; without = [{known}] in the configuration accepts it",
        )


async def check_up(path: Path) -> Report:
    """Raises nothing: whatever is wrong is a finding."""
    findings: list[Finding] = []
    config: Config | None = None
    try:
        config = load(path)
        findings.append(_found("configuration", str(path), True, "read"))
    except BentoError as error:
        findings.append(_found("configuration", str(path), False, str(error)))
    images = config.images if config else ("python",)
    runtime = config.sandbox.runtime if config else "bubblewrap"
    findings += await _sandbox(images, config.without if config else (), runtime)
    expected = None
    if config is not None:
        findings += _folders(config)
        try:
            expected = Expected.of(config)
            findings += await _relay(config, expected)
        except HostError as error:
            findings.append(_found("files", "identity", False, str(error)))
        findings += await _functions_tor(config)
    findings += _attesters(config.conclave.attester if config else "none")
    if config is not None:
        findings += _collateral(config, int(time.time()))
    return Report(tuple(findings), tuple(expected.torrc) if expected else ())


# -- the jail ---------------------------------------------------------------------------------------


async def _sandbox(images: Sequence[str], without: Sequence[str], runtime: str) -> list[Finding]:
    try:
        guest = blob.build()
    except HostError as error:
        return [_found("jail", "the guest's interpreter", False, str(error))]
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        layers = await check_layers(Path(folder), guest, runtime_named(runtime))
    return [*_jail(layers, images, without), *_other_version()]


def _jail(
    layers: Iterable[Layer], images: Sequence[str], without: Sequence[str]
) -> Iterable[Finding]:
    for layer in layers:
        kind, _, image = layer.name.partition(" ")
        if kind == "image" and image not in images:
            continue
        state = State.PRESENT if layer.present else State.MISSING
        yield Finding("jail", layer.name, state, layer.detail, layer.name in without)


def _other_version() -> Iterable[Finding]:
    """A machine has one version of control groups; what is true of the other cannot be seen here."""
    used = {home.version for home in hierarchies.ours()}
    for version in {1, 2} - used if used else ():
        detail = "this machine limits by the other version"
        if version == 2:
            detail += "; make vm in the sources runs the tests of this one"
        yield Finding(
            "jail", f"limits by control groups of version {version}", State.UNTESTABLE, detail
        )


# -- files ------------------------------------------------------------------------------------------


def _folders(config: Config) -> Iterable[Finding]:
    for name, folder in (("state folder", config.state), ("run folder", config.run)):
        if not folder.exists():
            detail = f"{folder} is made at the first start"
            yield Finding("files", name, State.UNTESTABLE, detail)
            continue
        mode = folder.stat().st_mode & 0o777
        private = not mode & 0o077
        detail = f"{folder}" if private else f"{folder} is open to others: chmod 700 {folder}"
        yield _found("files", name, private, detail)


# -- tor --------------------------------------------------------------------------------------------


async def _relay(config: Config, expected: Expected) -> list[Finding]:
    area = "the relay's tor"
    try:
        async with await Controller.connect(config.tor.relay_control) as tor:
            await tor.authenticate()
            version = (await tor.get_info("version"))["version"]
            found = [_found(area, "control connection", True, f"tor {version}")]
            for what, holds, detail in await compare(tor, expected):
                state = {True: State.PRESENT, False: State.MISSING, None: State.UNTESTABLE}[holds]
                found.append(Finding(area, what, state, detail))
            return found
    except BentoError as error:
        return [_found(area, "control connection", False, str(error))]


async def _functions_tor(config: Config) -> list[Finding]:
    area = "the functions' tor"
    wanted = bool(config.tor.allow) or config.egress.via == "tor"
    if not wanted:
        return []
    if not config.tor.functions_socks:
        program = shutil.which("tor")
        return [_found(area, "program", bool(program), program or "apt-get install tor")]
    if not config.tor.functions_control:
        return []
    try:
        async with await Controller.connect(config.tor.functions_control) as tor:
            await tor.authenticate()
            if await _is_relay(tor):
                return [_found(area, "a client only", False, "it is a relay: use another tor")]
            return [_found(area, "control connection", True, "a client only")]
    except TorError as error:
        return [_found(area, "control connection", False, str(error))]


async def _is_relay(tor: Controller) -> bool:
    return (await tor.command("GETCONF ORPort")).text.partition("=")[2] not in ("", "0")


# -- conclaves --------------------------------------------------------------------------------------


def _attesters(chosen: str) -> Iterable[Finding]:
    """Nothing here has run on the hardware it is for, except the emulator, which needs none."""
    from bento.conclave.attesters.survey import survey

    for finding in survey():
        if chosen in _ATTESTERS[finding.source]:
            yield _found("conclaves", finding.source, finding.present, finding.remark)
        else:
            yield Finding("conclaves", finding.source, State.UNTESTABLE, finding.remark)


def _collateral(config: Config, now: int) -> Iterable[Finding]:
    """What is stapled to evidence of a confidential VM: its age, and when it ends."""
    if config.conclave.attester != "tsm":
        return
    from bento.box.attester import collateral_store, make_attester

    area, name = "conclaves", "collateral"
    attester = make_attester(config)
    try:
        issued, ends = collateral_store(config).window(attester.kind)
    except BentoError as error:
        yield _found(area, name, False, f"{error}: set conclave.service, see conclaves.md")
        return
    detail = f"{(now - issued) // _DAY} days old, ends in {max(0, ends - now) // _DAY} days"
    if not config.conclave.service:
        detail += "; fetched by nobody but you, since conclave.service is not set"
    yield _found(area, name, now < ends, detail)


def _found(area: str, name: str, present: bool, detail: str) -> Finding:
    return Finding(area, name, State.PRESENT if present else State.MISSING, detail)
