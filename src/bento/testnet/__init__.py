"""A private Tor network on this machine: real tor, real boxes, loopback addresses only.

One authority, relays, two exits, boxes (relay, `bentod`, and a second tor for functions), a plain
client and the tor of bento's own commands, all kept running by a supervisor in the background.
It exists so that anybody can try, test and measure Bento without the live network, and it must
never send a packet to another machine nor leave anything running that nobody asked for.

`Testnet` starts, finds, asks and ends it; `Size` says how large it is.
"""

from bento.testnet.layout import WEB, Size
from bento.testnet.messages import BoxStatus, Status, Step
from bento.testnet.network import Testnet, UserTor, find

__all__ = ["WEB", "BoxStatus", "Size", "Status", "Step", "Testnet", "UserTor", "find"]
