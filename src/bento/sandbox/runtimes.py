"""What builds the jails: bubblewrap, or an OCI runtime for operators who want another. Data only.

Every runtime is started by the jailer in the same way, as the instance's own user, in its control
group, in a user and a mount namespace with the instance's disk: none ever has a privilege of the
machine. They differ in what the rows say, and the same tests run on each.

    crun    namespaces and the same filter, by another program; a standard OCI bundle
    runc    the same; inside, a function is user 0 of its own namespace, without capabilities
    runsc   gVisor: a kernel of its own in user space between the function and the machine's. Its
            sockets cannot leave it, so `carrier` brings connections in, and its instances end
            with their bentod. A pid limit is kept on its helpers as well: beyond it the instance ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bento.errors import UsageError
from bento.sandbox.bubblewrap import PROGRAM
from bento.sandbox.images import IMAGES, UID
from bento.sandbox.limits import MIB, Limits

_START_MEMORY, _START_PIDS = 128 * MIB, 64  # what a runtime itself may need until the guest runs


@dataclass(frozen=True, slots=True)
class Runtime:
    """One row of the table."""

    name: str
    program: str
    images: tuple[str, ...]
    uid: int = UID  # inside
    outer_uid: int | None = None  # the runtime's own, in the jailer's namespace; None: unchanged
    masks_proc: bool = True  # else a function sees its own jail's /proc
    gate: bool = True  # the interpreter waits at descriptor 3
    carried: bool = False  # connections are brought in by `carrier`
    resizable: bool = True  # the disk, once it runs
    memory: int = 0  # bytes of its own helpers, beside the instance's
    pids: int = 0

    @property
    def is_oci(self) -> bool:
        return self.name != "bubblewrap"

    def outer(self, limits: Limits) -> Limits:
        """The control group's limits for an instance of `limits`."""
        return replace(limits, memory=limits.memory + self.memory, pids=limits.pids + self.pids)

    def starting(self, limits: Limits) -> Limits:
        """The same until the guest is ready: before that nothing of a stranger is inside."""
        outer = self.outer(limits)
        if not self.is_oci:
            return outer
        return replace(
            outer, memory=max(outer.memory, _START_MEMORY), pids=max(outer.pids, _START_PIDS)
        )


BUBBLEWRAP = Runtime("bubblewrap", PROGRAM, tuple(IMAGES))

RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        BUBBLEWRAP,
        Runtime("crun", "/usr/bin/crun", ("python",)),
        Runtime("runc", "/usr/sbin/runc", ("python",), uid=0, masks_proc=False),
        Runtime(
            *("runsc", "/usr/bin/runsc", ("python",)),
            uid=0,
            outer_uid=0,
            masks_proc=False,
            gate=False,
            carried=True,
            resizable=False,
            memory=160 * MIB,
            pids=96,
        ),
    )
}


def runtime_named(name: str) -> Runtime:
    """The runtime called `name`. Raises UsageError with the names there are."""
    try:
        return RUNTIMES[name]
    except KeyError:
        raise UsageError(
            f"there is no sandbox runtime called {name!r}", f"runtimes: {', '.join(RUNTIMES)}"
        ) from None
