"""The Stem firewall: what stands between a function and the control port of the functions' tor.

A function may drive tor with an unmodified stem program, and sees and touches only what is its
own: its circuits, its streams, its onion services, its events, and the public directory. Every
line of it is parsed into a typed command and written anew, or refused with the reason and the
manifest line that would allow it. Deny by default. It never passes a byte on unread, never stands
before a relay's control port, and has nothing to do with network filtering (that is `egress`).

`docs/firewall.md` has the rule table and what this does not protect from.
"""

from bento.firewall.isolation import new_isolation_key, tor_username
from bento.firewall.judge import Settings
from bento.firewall.permissions import PERMISSIONS, RECORD, Grants, Permission
from bento.firewall.proxy import Firewall, Report
from bento.firewall.usage import Usage

__all__ = [
    "PERMISSIONS",
    "RECORD",
    "Firewall",
    "Grants",
    "Permission",
    "Report",
    "Settings",
    "Usage",
    "new_isolation_key",
    "tor_username",
]
