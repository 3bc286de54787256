"""The file a client's trust policy is written in. Default deny.

    families = ["sgx", "tdx"]
    refused_processors = ["milan"]
    runtimes = ["sgx:33d8..."]
    [minimum_versions.genoa]
    microcode = 84

Invariant: a key the policy does not know is an error, never ignored. A policy is a value: a call
that needs something else takes a changed copy (`override`), the file stays.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from cryptography import x509

from bento.conclave.appraise import Roots
from bento.conclave.claims import Kind, Level
from bento.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_POLICY: Final = 256 * 1024  # bytes of a policy file
DAY: Final = 86400  # seconds
_LEVELS: Final = {level.name.lower(): level for level in Level}

Seconds = Annotated[int, msgspec.Meta(ge=0, le=10 * 365 * DAY)]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Runtime = Annotated[str, msgspec.Meta(pattern=r"^(sgx|tdx|snp|tpm|emulated):[0-9a-f]{64,96}$")]


class TrustPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client accepts. An attribute is a line of the file; its value here the default."""

    # The hardware.
    families: frozenset[Kind] = frozenset((Kind.SGX, Kind.TDX, Kind.SNP))
    min_level: Literal["none", "emulated", "boot", "vm", "process"] = "vm"
    # Milan's root seed was extracted by software alone (arXiv 2605.12990): reports can be forged.
    refused_processors: frozenset[str] = frozenset(("milan",))
    smt: bool = True
    allowed_platforms: frozenset[str] = frozenset()  # empty: any
    refused_platforms: frozenset[str] = frozenset()

    # Its firmware.
    tcb_statuses: frozenset[str] = frozenset(("UpToDate", "SWHardeningNeeded"))
    refused_advisories: frozenset[str] = frozenset()
    # Family or processor -> name of a version -> smallest accepted. AMD rates no versions itself,
    # so an SNP processor without a line here is refused.
    minimum_versions: dict[str, dict[str, Version]] = {}

    # Freshness.
    session_only: bool = True  # evidence must be bound to the channel in use
    max_evidence_age_s: Seconds = 300
    max_collateral_age_s: Seconds = 14 * DAY
    require_revocation: bool = True

    # The software.
    runtimes: frozenset[Runtime] = frozenset()
    published_runtimes: bool = True  # also those this release of Bento publishes

    # The channel, and several boxes together.
    post_quantum: bool = True
    distinct_vendors: bool = False
    plain_container: bool = False  # no conclave at all

    # Certificates to trust beyond the vendors' own: paths, relative to the policy file.
    emulated_root: str = ""
    tpm_roots: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        return _LEVELS[self.min_level]

    def override(self, **changes: object) -> TrustPolicy:
        """A copy for one call. Raises UsageError for what the file would not allow either."""
        return _build({**msgspec.to_builtins(self), **changes})

    def allowing_emulated(self) -> TrustPolicy:
        """A copy that accepts the emulator whose root the caller names: test networks only."""
        return self.override(families=[*self.families, Kind.EMULATED], min_level="emulated")

    def roots(self, folder: Path) -> Roots:
        """Read the named certificates; paths are relative to `folder`. Raises HostError."""
        emulated = _certificate(folder / self.emulated_root) if self.emulated_root else None
        return Roots(emulated, tuple(_certificate(folder / path) for path in self.tpm_roots))


def parse_policy(text: str, overrides: Sequence[str] = ()) -> TrustPolicy:
    """A policy from TOML text; each override is a further TOML line that replaces a key.

    Raises UsageError.
    """
    merged: dict[str, Any] = {}
    for source in (text, *overrides):
        if len(source) > MAX_POLICY:
            raise UsageError("the trust policy is too long")
        try:
            merged.update(tomllib.loads(source))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"the trust policy is not valid TOML: {error}") from error
    return _build(merged)


def load_policy(path: Path, overrides: Sequence[str] = ()) -> TrustPolicy:
    """A policy from a file. Raises HostError, UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"the trust policy {path} cannot be read") from error
    return parse_policy(text, overrides)


def _build(content: Mapping[str, object]) -> TrustPolicy:
    try:
        policy = msgspec.convert(content, TrustPolicy)
    except msgspec.ValidationError as error:
        raise UsageError(f"the trust policy is not valid: {error}") from error
    if policy.refused_processors != {name.lower() for name in policy.refused_processors}:
        raise UsageError("processors are written in lower case in a trust policy")
    return policy


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HostError(f"the root certificate {path} cannot be read") from error
