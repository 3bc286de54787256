"""How each kind of process of a network is made. Nothing is started here."""

from __future__ import annotations

import sys

from bento.testnet import consensus
from bento.testnet.layout import INNER_OR_PORT, OR_PORT, Box, Layout, Node, Role
from bento.testnet.program import Program
from bento.testnet.torrc import torrc
from bento.tor.process import TorProcess


def tor(layout: Layout, node: Node, *, authority_line: str, contact: str, held: bool) -> TorProcess:
    """The tor of `node`; if `held` it asks nobody for a consensus until it is let go."""
    options = torrc(layout, node, authority_line=authority_line, contact=contact)
    if node.role is Role.AUTHORITY:
        options.append(consensus.far_vote())
    elif held:
        options += (consensus.HELD_RELAY if node.role.is_server else consensus.HELD_CLIENT).items()
    return TorProcess(options, node.data, node.name, control_socket=node.control)


def bentod(box: Box) -> Program:
    """The server of a box."""
    return Program(
        f"{box.name}-bentod",
        [sys.executable, "-m", "bento.cli.bentod", "run", "--config", str(box.config)],
        ready=box.run / "ready",
        log=box.config.with_name("bentod.log"),
    )


def forwarder(layout: Layout) -> Program:
    """The one process that delays the links to all relays."""
    ready = layout.run / "forwarder.ready"
    command = [sys.executable, "-m", "bento.testnet.forwarder"]
    command += ["--delay-ms", f"{layout.size.delay_ms:g}", "--ready", str(ready)]
    command += [f"{n.address}:{OR_PORT}={n.address}:{INNER_OR_PORT}" for n in layout.servers]
    return Program("forwarder", command, ready=ready, log=layout.data / "forwarder.log")
