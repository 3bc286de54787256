"""Tor's cell protocol in Python: links, circuits, streams, and the service side of onion services.

Why: C-tor has no hook between INTRODUCE2 and the rendezvous, so nobody can choose which machine
answers a client; with the cells in our hands we can, against unmodified relays and clients.

    no I/O      wire cells netinfo edcert certs link padding | crypto keys ntor ntor3 hs_ntor |
                relay layers window congestion pacing | linkspec consensus blinding hsdir
                descriptor descriptor_reader intro handover
    asyncio     tls channel circuit stream cover | directory network publish rendezvous service

Needs a C-tor beside it: that one fetches and verifies the consensus and chooses guards.

It must never: run on a user's machine (a guard can tell it from C-tor: users' circuits are always
C-tor's), send a circuit cell before the relay proved its identity, deliver a byte whose digest did
not prove its hop, do arithmetic on a secret as a Python integer, or show a secret in a `repr`.
"""

from bento.onion.blinding import OnionIdentity
from bento.onion.certs import RelayIdentity
from bento.onion.channel import Channel
from bento.onion.circuit import Circuit
from bento.onion.consensus import Relay
from bento.onion.cover import Cover
from bento.onion.directory import ControlPort, Directory
from bento.onion.errors import CircuitClosed, LinkClosed, StreamEnded
from bento.onion.handover import Rendezvous
from bento.onion.intro import IntroductionKeysOfPoint
from bento.onion.network import Network
from bento.onion.rendezvous import join
from bento.onion.service import OnionService, ServiceCounters, ServiceOptions
from bento.onion.stream import IncomingStream, Stream

__all__ = [
    "Channel",
    "Circuit",
    "CircuitClosed",
    "ControlPort",
    "Cover",
    "Directory",
    "IncomingStream",
    "IntroductionKeysOfPoint",
    "LinkClosed",
    "Network",
    "OnionIdentity",
    "OnionService",
    "Relay",
    "RelayIdentity",
    "Rendezvous",
    "ServiceCounters",
    "ServiceOptions",
    "Stream",
    "StreamEnded",
    "join",
]
