"""One sandbox, from nothing: `spawn(image, limits, run_dir, instance_id, guest_blob) -> Sandbox`."""

from __future__ import annotations

from pathlib import Path

from bento.sandbox.images import Image
from bento.sandbox.jail import Jail
from bento.sandbox.limits import Limits
from bento.sandbox.runtimes import BUBBLEWRAP, Runtime
from bento.sandbox.sandbox import Sandbox


async def spawn(
    image: Image,
    limits: Limits,
    run_dir: Path,
    instance_id: str,
    guest_blob: bytes,
    runtime: Runtime = BUBBLEWRAP,
) -> Sandbox:
    """A sandbox whose guest runtime is ready.

    `run_dir` is a folder of the box's own (mode 0700); `guest_blob` is a marshalled code object of
    /usr/bin/python3. Raises HostError if the machine cannot do it, with the sandbox's last words.
    """
    return await Jail.build_and_enter(image, limits, run_dir, instance_id, guest_blob, runtime)
