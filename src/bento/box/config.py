"""The operator's file, in TOML: strict, with defaults that are safe on a small relay."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec

from bento.egress.rules import EgressRules
from bento.errors import PolicyError, UsageError
from bento.firewall import Grants
from bento.protocol import limits
from bento.protocol.conclave import IMAGES as CONCLAVES
from bento.protocol.manifest import read_size, read_time
from bento.sandbox import runtime_named

MIB = 1 << 20
_SERVICE = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+[A-Za-z0-9\]](/[A-Za-z0-9._/-]*[A-Za-z0-9])?")
ATTESTERS = ("none", "emulated", "tsm", "tpm")


class CircuitEntrance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the relay itself connects to: a host-only address its exit policy accepts first."""

    address: str = "192.0.2.77"
    port: int = 5000


class OnionEntrance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A v3 onion service made on the relay's control connection."""

    single_hop: bool = False
    port: int = 80
    proof_of_work: bool = True  # tor's own, asked for only under load; needs tor 0.4.9 with `pow`


class Entrance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    circuit: CircuitEntrance | None = None
    onion: OnionEntrance | None = None


class Tor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Endpoints: `unix:/path` or `HOST:PORT`. The functions' tor is another, client-only process;
    if none is named and one is needed, bentod runs its own, with the lines of `functions_torrc`.
    `allow` is what a function's manifest may ask of it (see docs/firewall.md)."""

    relay_control: str
    functions_control: str = ""
    functions_socks: str = ""
    functions_torrc: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class Egress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`via`: "direct" (within the relay's exit policy), "tor" (the functions' tor) or "none". `relays`:
    whether functions may connect to the ORPorts in the consensus besides, whatever `via` says."""

    via: str = "none"
    rules: tuple[str, ...] = ("*:*",)
    relays: bool = False
    test_web: str = ""  # on a private test network: the loopback range that plays the web
    test_relays: str = ""  # and the one that its relays are in


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one instance may ask for at most, and how many there may be. Sizes and times as text."""

    instances: int = 20
    total_memory: str = (
        ""  # of all together; default: what the machine has, where parts compete for it
    )
    bandwidth: str = ""  # bytes a second between clients and all instances; default: no bound
    pool: int = 2  # ready sandboxes of each image; a browser costs 0.4 GiB only once it is used
    images: tuple[str, ...] = ("python", "browser")
    memory: str = "1 GiB"
    cpu: float = 2.0
    disk: str = "256 MiB"
    pids: int = 512
    lifetime: str = "1d"
    upload: str = "64 MiB"
    spool: str = "16 MiB"
    boxes: int = 0  # instances on other boxes, through the functions' tor; see docs/composition.md


class Jail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What builds the sandboxes: "bubblewrap", "crun", "runc" or "runsc" (gVisor)."""

    runtime: str = "bubblewrap"


class Conclave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether functions may run in conclaves here, and who speaks for the platform.

    `attester`: "none"; "emulated" (no protection: for trying and testing); "tsm" (this whole machine is
    a TDX or SNP guest); "tpm" (says what booted). The folders are made when absent."""

    attester: str = "none"
    pool: int = 1  # ready python-conclaves: each holds about 15 MiB; others start on demand
    platform: str = ""  # emulated: where its keys are; default: `emulated` in the box's state
    tpm_key: str = ""  # tpm: a handle or a context file of tpm2-tools
    collateral: str = ""  # vendors' statements to staple; default: `collateral` in the box's state
    service: str = (
        ""  # where the box fetches collateral daily: Intel's or AMD's base URL, or a cache's
    )
    service_via: str = "direct"  # or "tor": through the functions' tor
    libraries: str = ""  # where the guest's libraries are copied to; everyone must be able to enter


class PassIssuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer whose passes are honoured."""

    card: Path
    places: int  # of capacity.instances, kept for its passes
    weight: float = 4.0  # the processor share of an instance, beside one of everybody's


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who gets a place when many want one, see docs/fairness.md."""

    priced: bool = True  # ask for work when loaded, of those who show no pass
    issuers: tuple[PassIssuer, ...] = ()


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers for the operator's monitoring, see docs/operators.md; without this table, none."""

    listen: str  # `unix:/path`, or a loopback address with its port


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One box. `state` keeps its identity, `run` its sockets. `without` names the layers of the jail,
    as `bentod check` does, that this machine lacks and that it is to run without."""

    name: str
    state: Path
    run: Path
    tor: Tor
    entrance: Entrance
    egress: Egress = Egress()
    capacity: Capacity = Capacity()
    sandbox: Jail = Jail()
    conclave: Conclave = Conclave()
    without: tuple[str, ...] = ()
    admission: Admission = Admission()
    metrics: Metrics | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """What the box offers: with an attester, each image's conclave form too."""
        images = self.capacity.images
        if self.conclave.attester == "none":
            return images
        return (*images, *(CONCLAVES[image] for image in images if image in CONCLAVES))


def load(path: Path) -> Config:
    """The configuration in `path`. Raises UsageError naming the file and the bad entry."""
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=Config, dec_hook=_decode)
        _check(config)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError, PolicyError, UsageError) as error:
        raise UsageError(f"{path}: {error}", "see docs/operators.md for every entry") from None
    return config


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{value!r} is no {kind.__name__}")


def _check(config: Config) -> None:
    if config.egress.via not in ("direct", "tor", "none"):
        raise ValueError('egress.via is "direct", "tor" or "none"')
    if config.conclave.attester not in ATTESTERS:
        raise ValueError(f"conclave.attester is one of {', '.join(ATTESTERS)}")
    if config.conclave.attester == "tpm" and not config.conclave.tpm_key:
        raise ValueError('conclave.attester = "tpm" needs conclave.tpm_key')
    if config.conclave.service_via not in ("direct", "tor"):
        raise ValueError('conclave.service_via is "direct" or "tor"')
    if config.conclave.service and not _SERVICE.fullmatch(config.conclave.service):
        raise ValueError("conclave.service is a URL such as https://api.trustedservices.intel.com")
    if config.metrics is not None:
        _check_local(config.metrics.listen)
    EgressRules.parse(config.egress.rules)
    Grants.parse(config.tor.allow)
    if not 0 <= config.capacity.boxes <= limits.TREE:
        raise ValueError(f"capacity.boxes is a whole number up to {limits.TREE}")
    named = bool(config.tor.functions_socks), bool(config.tor.functions_control)
    if named == (False, True) or (config.tor.allow and named == (True, False)):
        raise ValueError("name both tor.functions_control and tor.functions_socks, or neither")
    runtime = runtime_named(config.sandbox.runtime)
    if runtime.carried and config.capacity.boxes:
        raise ValueError(
            f"with {runtime.name} functions have no way to other boxes: capacity.boxes is 0"
        )
    if missing := [name for name in config.images if name not in runtime.images]:
        raise ValueError(f"the runtime {runtime.name} has no image {', '.join(missing)}")
    if config.entrance.circuit is None and config.entrance.onion is None:
        raise ValueError("a box needs an entrance: [entrance.circuit] or [entrance.onion]")
    if config.entrance.circuit is not None:
        ipaddress.ip_address(config.entrance.circuit.address)
    for name in ("test_web", "test_relays"):
        text = getattr(config.egress, name)
        if text and not ipaddress.ip_network(text).is_loopback:
            raise ValueError(f"egress.{name} is for private networks: a loopback range only")
    kept = [issuer.places for issuer in config.admission.issuers]
    if any(places < 1 for places in kept) or sum(kept) >= config.capacity.instances:
        raise ValueError("each issuer has one place or more, and everybody else keeps at least one")
    if not all(0.1 <= issuer.weight <= 100 for issuer in config.admission.issuers):
        raise ValueError("the weight of an issuer's instances is from 0.1 to 100")
    for text in (config.capacity.memory, config.capacity.disk, config.capacity.upload):
        read_size(text)
    read_size(config.capacity.spool)
    for text in (config.capacity.total_memory, config.capacity.bandwidth):
        if text and read_size(text) < MIB // 16:
            raise ValueError("capacity.total_memory and capacity.bandwidth are 64 KiB at least")
    read_time(config.capacity.lifetime)


def _check_local(listen: str) -> None:
    """What outsiders could reach would tell them how busy the box is."""
    host, _, port = listen.rpartition(":")
    if listen.startswith("unix:/"):
        return
    try:
        if ipaddress.ip_address(host.strip("[]")).is_loopback and 0 < int(port) < 65536:
            return
    except ValueError:
        pass
    raise ValueError("metrics.listen is unix:/PATH, or a loopback address with a port")
