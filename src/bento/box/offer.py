"""The policy this box can honestly offer: the operator's file, and what the machine can enforce."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.box.passes import load_cards
from bento.protocol.manifest import read_size, read_time
from bento.protocol.policy import Policy, sign
from bento.sandbox import image_named

if TYPE_CHECKING:
    from bento.box.config import Config
    from bento.box.identity import Identity


@dataclass(frozen=True)
class Offer:
    """A policy with its signed document."""

    policy: Policy
    document: bytes
    signature: bytes
    public_key: bytes


def make_offer(
    config: Config, identity: Identity, enforcement: str, attestation: tuple[str, ...] = ()
) -> Offer:
    """The policy of `config` with its signature."""
    policy = make_policy(config, enforcement, attestation)
    document = policy.document()
    return Offer(policy, document, sign(document, identity.signing_key), identity.public_key)


def make_policy(config: Config, enforcement: str, attestation: tuple[str, ...] = ()) -> Policy:
    """`enforcement` says how limits are kept here: "cgroup" or "rlimit"; `attestation` names the
    kinds of evidence that conclaves here have."""
    capacity, egress = config.capacity, config.egress
    return Policy(
        images=config.images,
        memory=read_size(capacity.memory),
        cpu=capacity.cpu,
        disk=read_size(capacity.disk),
        pids=capacity.pids,
        lifetime=read_time(capacity.lifetime),
        upload=read_size(capacity.upload),
        spool=read_size(capacity.spool),
        instances=capacity.instances,
        egress=egress.rules if egress.via != "none" else (),
        egress_via=egress.via,
        tor=config.tor.allow,
        enforcement=enforcement,
        attestation=attestation,
        syscalls=tuple(image_named(name).profile for name in config.images),
        passes=tuple(card.id for card in load_cards(config)),
        relays=egress.relays,
        boxes=capacity.boxes,
    )
