"""Which of the loopback nets 127.N.0.0/24 a network uses, so that several live on one machine.

A net is claimed by an abstract unix socket of its name (unix(7)): it reaches as far as loopback
addresses do, one network namespace, and the kernel frees it when the holder dies.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable

from bento.errors import HostError
from bento.testnet.layout import NET_NUMBERS, WEB, Layout, require_loopback


def claim(make: Callable[[int], Layout], preferred: int | None) -> tuple[Layout, socket.socket]:
    """The first layout whose addresses are free, and the claim to be kept open with it.

    Tries `preferred` first. Raises HostError if no net is free, UsageError if an address of a
    layout is not loopback.
    """
    numbers = dict.fromkeys([preferred, *NET_NUMBERS] if preferred else NET_NUMBERS)
    taken = ""
    for number in numbers:
        layout = make(number)
        require_loopback([host for host, _ in layout.listeners()] + [WEB.partition("/")[0]])
        held = hold(number)
        if held is None:
            continue
        taken = _first_taken(layout.listeners())
        if not taken:
            return layout, held
        held.close()
    detail = f": {taken} is in use" if taken else ""
    raise HostError(f"no loopback net is free for the test network{detail}")


def hold(number: int) -> socket.socket | None:
    """A claim to the net of that number, as long as it is open; None when another has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0bento-testnet-{number}")
    except OSError:
        claim.close()
        return None
    return claim


def _first_taken(listeners: Iterable[tuple[str, int]]) -> str:
    """The first of the addresses that cannot be listened on; empty if there is none."""
    for host, port in listeners:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As every server does: connections of an earlier run that linger are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise HostError(f"cannot listen on {host}:{port}: {error.strerror}") from None
                return f"{host}:{port}"
    return ""
