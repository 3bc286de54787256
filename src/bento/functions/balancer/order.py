"""What a front is told to serve, read strictly: an order that is not exactly in its form is refused with a
sentence and changes nothing, so that the next one finds the front as it was."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bento.errors import BentoError, FunctionError
from bento.functions.balancer.fleet import Options
from bento.functions.balancer.inside import read_exactly
from bento.functions.balancer.messages import MAX_CONTENT
from bento.functions.balancer.site import parse
from bento.onion import kept
from bento.onion.blinding import OnionIdentity
from bento.protocol.manifest import Manifest

if TYPE_CHECKING:
    from bento.guest.api import Api

KEY_BYTES = 96
"""An `hs_ed25519_secret_key` file of C-tor's."""

MAX_POINTS, MAX_CODE = 16 << 20, 4 << 20

_SIZES = {"points": (0, MAX_POINTS), "content": (0, MAX_CONTENT), "code": (1, MAX_CODE)}
_OPTIONS = {option.name: type(option.default) for option in dataclasses.fields(Options)}


@dataclass
class Order:
    """`manifest` is what replicas are installed under."""

    identity: OnionIdentity
    kind: int
    points: bytes = field(repr=False)
    content: bytes = field(repr=False)
    code: bytes = field(repr=False)
    manifest: str
    options: Options

    @classmethod
    def read(cls, api: Api, **words: Any) -> Order:
        """The words are `kind` (of `site`), `manifest`, how many bytes of `points`, `content` and `code` the
        input has after the key, and those of `Options`. Raises FunctionError."""
        sizes = [_size(words.pop(name, None), name) for name in _SIZES]
        kind, manifest = words.pop("kind", None), words.pop("manifest", None)
        if not isinstance(kind, int) or not isinstance(manifest, str):
            raise FunctionError("the order does not say what is to be served, or how")
        try:
            options = _options(words)
            Manifest.parse(manifest)
            key, points, content, code = (read_exactly(api, n) for n in (KEY_BYTES, *sizes))
            if api.recv(1):
                raise FunctionError("more came than the order says")
            identity = OnionIdentity.from_c_tor_file(key)
            parse(kind, content)
            if points:
                kept.parse(points)
        except (BentoError, ValueError) as error:
            raise FunctionError(f"this is no order for a front: {error}") from None
        return cls(identity, kind, points, content, code, manifest, options)


def _size(value: Any, name: str) -> int:
    least, most = _SIZES[name]
    if type(value) is not int or not least <= value <= most:
        raise FunctionError(f"the order's {name} must be {least} to {most} bytes")
    return value


def _options(words: dict[str, Any]) -> Options:
    """Raises FunctionError for one that there is not or that is of another kind, ValueError as `Options`."""
    for name, value in words.items():
        wanted = _OPTIONS.get(name)
        fits = type(value) is wanted or (wanted is float and type(value) is int)
        if wanted is None or not fits:
            raise FunctionError(f"the order has no option {name[:20]!r} of that kind")
    return Options(**words)
