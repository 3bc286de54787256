"""A sandbox outlives its bentod: the next bentod takes it over by what the last one wrote down.

    record = sandbox.record                        kept in the box's journal
    sandbox = await adopt(record, run_dir)         after a restart

Nothing is asked of the guest but what any control connection asks, and its answer is not trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

from bento.errors import HostError
from bento.sandbox import cgroup, handshake, uids
from bento.sandbox.images import image_named
from bento.sandbox.process import Process, name, parent, runs, user
from bento.sandbox.sandbox import Record, Sandbox

_READY_WITHIN = 10.0  # seconds for a guest that runs already; one that is stopped or mute is ended


async def adopt(record: Record, run_dir: Path) -> Sandbox:
    """The running sandbox of `record`, as if this process had started it.

    Raises HostError if it has ended or does not answer; nothing of it is left then.
    """
    group = cgroup.Group(record.group) if record.group else None
    path = run_dir / f"{record.instance_id}.sock"
    async with AsyncExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        if group:
            undo.push_async_callback(group.kill_and_remove)
        try:
            process = _find(record)
            undo.push_async_callback(process.end)
            uid = _uid(record.pid, undo)
            control = handshake.connect(path)
            undo.callback(control.close)
            async with asyncio.timeout(_READY_WITHIN):
                egress_listener = await handshake.ready(control)
            undo.callback(egress_listener.close)
            sandbox = Sandbox(
                image_named(record.image),
                record.limits,
                record.instance_id,
                process=process,
                supervisor=_supervisor(record.pid),
                group=group,
                uid=uid,
                socket_path=path,
                control=control,
                egress_listener=egress_listener,
            )
        except asyncio.CancelledError:  # bentod ends: it runs on, and the next one will have it
            undo.pop_all()
            raise
        except (OSError, TimeoutError) as error:
            raise HostError("a sandbox of an earlier bentod has ended or is mute") from error
        undo.pop_all()
    return sandbox


def _find(record: Record) -> Process:
    process = Process(record.pid)
    if runs(record.pid, record.started):
        return process
    process.forget()  # another process got its number
    raise ProcessLookupError(record.pid)


def _uid(pid: int, undo: AsyncExitStack) -> uids.Uid | None:
    if user(pid) < uids.FIRST:
        return None
    uid = uids.adopt(user(pid))
    undo.callback(uid.release)
    return uid


def _supervisor(pid: int) -> Process | None:
    """bubblewrap's outer process, if nobody killed it: then somebody else is the parent."""
    with contextlib.suppress(ProcessLookupError):
        if name(parent(pid)) == "bwrap":
            return Process(parent(pid))
    return None
