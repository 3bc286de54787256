"""One instance, one jail: what runs a stranger's function on a relay's machine without harm to it.

A sandbox is made fresh for each instance by bubblewrap, used once and destroyed whole. It must
never run anything without every layer it claims: a limit that cannot be enforced is refused or
stands in `Sandbox.level`. It knows nothing of networks, tokens or clients; the one way in is a unix
socket, the one way out a listening socket that was born inside.
"""

from bento.sandbox.adoption import adopt
from bento.sandbox.cgroup import Usage
from bento.sandbox.images import IMAGES, Image, image_named
from bento.sandbox.layers import Layer, check
from bento.sandbox.limits import GIB, KIB, MIB, Limits
from bento.sandbox.pool import Pool
from bento.sandbox.runtimes import RUNTIMES, Runtime, runtime_named
from bento.sandbox.sandbox import Record, Sandbox
from bento.sandbox.spawn import spawn

__all__ = [
    "GIB",
    "IMAGES",
    "KIB",
    "MIB",
    "RUNTIMES",
    "Image",
    "Layer",
    "Limits",
    "Pool",
    "Record",
    "Runtime",
    "Sandbox",
    "Usage",
    "adopt",
    "check",
    "image_named",
    "runtime_named",
    "spawn",
]
