"""An answer as the function sends it, and as its client gets it."""

from bento.functions.browser.pack import Pack
from bento.functions.browser.packing import encode
from bento.functions.browser.sizes import warm_up


def whole(pack: Pack, padding: str = "x2") -> bytes:
    """The warm-up and all that follows it."""
    return bytes(warm_up(padding)) + b"".join(encode(pack, padding))
