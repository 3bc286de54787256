"""Any `need` of `total` fragments give a stripe back. Pure.

Cauchy Reed-Solomon by ISA-L (pyeclib), whose matrices are invertible for every choice of fragments; its
Vandermonde ones are not. What needs no code gets none: with `need` 1 every fragment is the stripe,
with `need` = `total` each is a part of it.

Fragments must be known to be genuine before they are decoded (layout.py): a code cannot tell, and the
library believes what stands in their first bytes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from bento.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TOTAL = 32
"""Fragments of one code at most: liberasurecode's own limit."""

_CODE = "isa_l_rs_cauchy"


class Coder:
    """The code of one file. Raises UsageError unless 1 <= need <= total <= 32."""

    def __init__(self, need: int, total: int) -> None:
        if not 1 <= need <= total <= MAX_TOTAL:
            raise UsageError(
                f"{need} of {total} shards is no code", f"1 <= need <= shards <= {MAX_TOTAL}"
            )
        self.need = need
        self.total = total
        self._driver = _driver(need, total - need) if 1 < need < total else None

    def fragment_size(self, size: int) -> int:
        """How long each fragment of a stripe of `size` bytes is."""
        if self._driver is not None:
            return int(self._driver.get_segment_info(size, size)["fragment_size"])
        return -(-size // self.need)

    def encode(self, stripe: bytes) -> list[bytes]:
        """Its fragments, in order."""
        if self._driver is not None:
            return list(self._driver.encode(stripe))
        if self.need == 1:
            return [stripe] * self.total
        part = self.fragment_size(len(stripe))
        whole = stripe.ljust(part * self.need, b"\0")
        return [whole[at : at + part] for at in range(0, len(whole), part)]

    def decode(self, fragments: Mapping[int, bytes], size: int) -> bytes:
        """The stripe of `size` bytes, from at least `need` genuine fragments by their number."""
        assert len(fragments) >= self.need
        if self._driver is not None:
            return bytes(self._driver.decode([fragments[number] for number in sorted(fragments)]))
        if self.need == 1:
            return next(iter(fragments.values()))
        return b"".join(fragments[number] for number in sorted(fragments))[:size]


@cache
def _driver(need: int, spare: int) -> Any:
    from pyeclib.ec_iface import ECDriver  # 20 ms that only shards cost

    return ECDriver(k=need, m=spare, ec_type=_CODE)
