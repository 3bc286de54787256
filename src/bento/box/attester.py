"""Who speaks for the platform on this box, chosen by the operator's file; and what it vouches for.

The emulator stands for a processor, so it measures the guest itself, from the sources it is made of. A
TDX or SNP machine and a TPM measure what booted, this program included. Gramine's evidence is made
inside the enclave, and this release starts none: there is no line for it.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bento.box import fetch
from bento.box.refresher import Refresher
from bento.conclave import runtime
from bento.conclave.attesters.emulated import EmulatedAttester, EmulatedPlatform
from bento.conclave.attesters.tpm import TpmAttester
from bento.conclave.attesters.tsm import TsmAttester
from bento.conclave.claims import Kind
from bento.conclave.collateral import CollateralStore
from bento.errors import HostError
from bento.guest import blob
from bento.guest.enclosure import LIBRARIES
from bento.sandbox import image_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.box.config import Config
    from bento.conclave.attesters.base import Attester
    from bento.sandbox import Image

_SHARED = Path("/var/lib/bento-libraries")
"""For a box that runs as root: its sandboxes run as other users, who must be able to get there."""
_TDX_DEVICE = Path("/dev/tdx_guest")


def guest() -> blob.Conclave:
    """What makes a guest a conclave's: the modules of the conclave room that run inside."""
    return blob.Conclave(runtime.INSIDE, tuple(runtime.sources().items()))


def measurement(conclave: blob.Conclave) -> bytes:
    """What an honest platform measures of a guest: the same on every installation of a release."""
    return runtime.measurement(blob.sources(conclave=True) | dict(conclave.modules))


def image(name: str, config: Config) -> Image:
    """A conclave's image with its libraries shown inside. Takes a second or two, once a release.

    Raises HostError."""
    exported = runtime.export_libraries(_libraries(config))
    return replace(image_named(name), shown=((str(exported), LIBRARIES),))


def _libraries(config: Config) -> Path:
    if config.conclave.libraries:
        return Path(config.conclave.libraries)
    return _SHARED if os.geteuid() == 0 else config.state / "libraries"


def make_attester(config: Config) -> Attester:
    """The configured one. Raises HostError."""
    return _MAKERS[config.conclave.attester](config)


def make_refresher(config: Config, attester: Attester | None, socks: str) -> Refresher | None:
    """What keeps the platform's collateral fresh, where it can be fetched: on a TDX or SNP machine.

    `socks`: the functions' tor's SOCKS port. Raises HostError."""
    if not isinstance(attester, TsmAttester):
        return None
    chosen = config.conclave
    if chosen.service and chosen.service_via == "tor" and not socks:
        raise HostError('conclave.service_via = "tor" needs a functions\' tor', "see [tor]")
    proxy = socks if chosen.service_via == "tor" else ""
    return Refresher(
        attester.kind,
        attester.quote,
        collateral_store(config),
        chosen.service,
        partial(fetch.get, socks=proxy),
    )


def _emulated(config: Config) -> Attester:
    folder = Path(config.conclave.platform or config.state / "emulated")
    now = int(time.time())
    if not folder.exists():
        EmulatedPlatform.create(now).save(folder)
    return EmulatedAttester(EmulatedPlatform.load(folder), measurement(guest()), now)


def _tsm(config: Config) -> Attester:
    kind = Kind.TDX if _TDX_DEVICE.exists() else Kind.SNP
    return TsmAttester(kind, collateral_store(config))


def _tpm(config: Config) -> Attester:
    return TpmAttester(config.conclave.tpm_key, collateral_store(config))


def collateral_store(config: Config) -> CollateralStore:
    """Where vendors' statements are kept."""
    return CollateralStore(Path(config.conclave.collateral or config.state / "collateral"))


_MAKERS: dict[str, Callable[[Config], Attester]] = {
    "emulated": _emulated,
    "tsm": _tsm,
    "tpm": _tpm,
}
