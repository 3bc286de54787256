"""What a function is told of the guards of the functions' tor: where a link of its own should go.

`GETINFO entry-guards` also says which guards tor once drew and never used, which were away and
since when: the past of all functions. Of that nothing passes.
"""

from __future__ import annotations

from bento.firewall import values
from bento.firewall.limits import MAX_GUARDS
from bento.firewall.refusal import Refusal

_USABLE = frozenset({"up", "never-connected"})  # without the times that follow other states


def shown(value: str) -> str:
    """The first few that can be used, one a line: `$FINGERPRINT up`."""
    found: list[str] = []
    for line in value.splitlines():
        relay, _, state = line.partition(" ")
        if state in _USABLE:
            try:
                found.append(f"${values.fingerprint(relay)} up")
            except Refusal:
                continue
    return "\n".join(found[:MAX_GUARDS])
