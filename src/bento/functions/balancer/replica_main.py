# /// bento
# image = "python"
# memory = "96 MiB"
# cpu = 1.0
# pids = 64
# lifetime = "1d"
# spool = "1 MiB"
# relays = true
# tor = ["directory", "guards"]
# ///
"""The replica as a function: its one session is the channel to its front.

The manifest above is for no content; whoever installs it asks for the memory its content needs, and
for egress to the origin if there is one.
"""

import asyncio

from bento.errors import FunctionError
from bento.functions.balancer.inside import opened_network, own_session
from bento.functions.balancer.replica import Replica
from bento.guest.api import Api

_begun: list[Api] = []


def main(api: Api) -> None:
    """Serves until the front ends it or is gone, and ends the instance with it."""
    if _begun:
        raise FunctionError("this replica has a front already")
    _begun.append(api)
    try:
        asyncio.run(_serve(api))
    finally:
        api.end()


async def _serve(api: Api) -> None:
    async with opened_network() as network:
        await Replica(network, own_session(api)).run()
