"""Ends what a supervisor that died left behind. To be called with the lock held."""

from __future__ import annotations

from bento.testnet.folders import Folders
from bento.testnet.processes import BRIEF_GRACE, Table, end, socket_holders


async def clear(folders: Folders) -> list[str]:
    """End every process of the network and remove its sockets; returns their names."""
    if not folders.run.exists():
        return []
    folders.require_own_run()
    # First those that we started: a bentod that is asked to stop ends its instances itself.
    ended = await end(Table.read(folders.processes))
    ended += await end(socket_holders(folders.run), BRIEF_GRACE)
    folders.remove_run()
    return ended
