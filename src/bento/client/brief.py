"""What a function that runs once is given time for: minutes, and fewer where they are dear.

The usual lifetime is an hour, for what is installed to stay; at a loaded box it costs an hour's rent (see
`box/pricing.py`). A manifest that says how long its function needs is taken at its word.
"""

from __future__ import annotations

from bento.client.patience import HOPE
from bento.protocol.manifest import Manifest, amended, states

_SECONDS = (600, 300, 120, 60)
_EASY = 0.5  # of the user's patience: more is asked for only at a price below that


def attempts(manifest: str) -> list[tuple[str, float]]:
    """(a manifest to ask for, the `patience.HOPE` for it), one after the other until the price is right.

    Raises UsageError when the manifest is wrong."""
    Manifest.parse(manifest)
    if states(manifest, "lifetime"):
        return [(manifest, HOPE)]
    asked = [amended(manifest, lifetime=f"{seconds}s") for seconds in _SECONDS]
    return [*((text, _EASY) for text in asked), (asked[-1], HOPE)]
