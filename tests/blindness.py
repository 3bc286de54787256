"""Every conclave run of the whole suite is watched: what passes inside the channel is found nowhere outside it.

A run is one attested channel of a client, in pytest's own process or in a `bento` command
(`python -m tests.blindness PROGRAM …`). Its secrets are words out of what went through it both ways (code,
arguments, input, answers, file content) and its keys. They are looked for in the bytes on its wire, which are what
the box relays; in what its sandbox keeps on disk, in names, arguments and environments, just before it ends; in the
folders of its box; and by `tests/canaries.py` in all logs and process lists of the run.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
import tempfile
from collections import deque
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conclave_views import standing

import bento.client.application
import bento.client.box
import bento.client.door
from bento.client.conclave import Attestation
from bento.conclave.channel import ClientChannel
from bento.protocol.conclave import is_conclave

FOLDER = "BENTO_TEST_BLINDNESS"  # where commands leave what their runs were
_WORD = 20  # bytes
_DISTINCT = 10  # different bytes a word has at least
_PAYLOADS = 12  # looked at of each channel
_BEGIN = 400  # bytes of each payload from which words are taken at every half a word
_FURTHER = 4  # words of the rest
_WIRE = 1 << 24  # bytes of each channel that are kept
OF_A_FILE = 1 << 16  # bytes: the words are out of the first ones too
_RECENT = 24  # runs that one sandbox could belong to
_EVERY_TRACEBACK = re.compile(
    rb'Traceback \(most recent call last\):|File "[^"\n]*", line \d+(, in [^\n]*)?'
)
"""Lines that the failures of other programs have too; what failed stands in the rest."""


class Run:
    """One channel."""

    def __init__(self) -> None:
        self.wire = bytearray()
        self.public = b""  # the manifest, the commitment, the outer token: what the box is told
        self.secrets: dict[bytes, str] = {}
        self._payloads = 0

    def passed(self, what: str, payload: bytes) -> None:
        """Something went through the channel."""
        self._payloads += 1
        if self._payloads > _PAYLOADS:
            return
        payload = _EVERY_TRACEBACK.sub(b"", payload)
        last = len(payload) - _WORD
        begin = range(0, min(_BEGIN, last) + 1, _WORD // 2)
        rest = range(_BEGIN, last + 1, max(1, (last - _BEGIN) // _FURTHER))
        for at in (*begin, *rest):
            self.keep(what, bytes(payload[at : at + _WORD]))

    def keep(self, what: str, word: bytes) -> None:
        if len(set(word)) >= _DISTINCT and word not in self.public:
            self.secrets[word] = what

    def leaks(self) -> set[str]:
        return search(self.secrets, {"what its box relays": bytes(self.wire)})


def search(secrets: dict[bytes, str], views: dict[str, bytes]) -> set[str]:
    """`what: view` for each word that a view holds, as it is or in hexadecimal."""
    return {
        f"{what} of a conclave: {view}"
        for view, content in views.items()
        for word, what in secrets.items()
        if word in content or word.hex().encode() in content
    }


class Blindness:
    """All runs of this process."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.leaked: set[str] = set()
        self._recent: deque[Run] = deque(maxlen=_RECENT)
        self._of: dict[int, Run] = {}  # id of a channel that is kept alive by its run

    # -- what is watched -----------------------------------------------------------------------

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """From now on until the patch is undone."""
        self._watch_channels(patch)
        self._watch_wires(patch)

    def _watch_channels(self, patch: pytest.MonkeyPatch) -> None:
        send, receive = ClientChannel.send, ClientChannel.receive

        def sends(channel, payload):
            if run := self._of.get(id(channel)):
                run.passed("something sent", payload)
            send(channel, payload)

        def receives(channel, data):
            payloads = receive(channel, data)
            if run := self._of.get(id(channel)):
                for payload in payloads:
                    run.passed("something answered", payload)
            return payloads

        patch.setattr(ClientChannel, "send", sends)
        patch.setattr(ClientChannel, "receive", receives)

    def _watch_wires(self, patch: pytest.MonkeyPatch) -> None:
        knock, over = bento.client.door.knock, Attestation.over

        async def knocks(route, request, key_hash, early=b""):
            greeting, answer, pipe = await knock(route, request, key_hash, early)
            pipe.writer.told = request, early
            return greeting, answer, pipe

        async def goes_over(attestation, pipe):
            run = self._begin(attestation, pipe)
            inside = await over(attestation, pipe)
            run.keep("the channel's key", attestation._channel.exporter)
            return inside

        for user in (bento.client.application, bento.client.box):
            patch.setattr(user, "knock", knocks)
        patch.setattr(Attestation, "over", goes_over)

    def _begin(self, attestation: Attestation, pipe) -> Run:
        run = Run()
        request, early = pipe.writer.told
        told = (getattr(request, name, b"") for name in ("manifest", "function", "token"))
        run.public = b"\n".join(t.encode() if isinstance(t, str) else t for t in told)
        run.wire += early + pipe.early
        run.channel = attestation._channel
        if attestation._inner is not None:
            run.keep("its inner token", attestation._inner.seal)
        self._of[id(run.channel)] = run
        self.runs.append(run)
        self._recent.append(run)
        _record(run, pipe)
        return run

    # -- where it is looked for ------------------------------------------------------------------

    def look(self, views: dict[str, bytes]) -> None:
        """Searches what a box keeps for the secrets of the runs it could have heard of."""
        for run in self._recent:
            self.leaked |= search(run.secrets, views)

    def secrets(self) -> dict[bytes, str]:
        return {word: what for run in self.runs for word, what in run.secrets.items()}

    def found(self) -> list[str]:
        return sorted(self.leaked.union(*(run.leaks() for run in self.runs)))

    @contextmanager
    def apart(self):
        """Runs within do not count, for a test that leaks on purpose."""
        kept = self.runs, self.leaked, self._recent
        self.runs, self.leaked, self._recent = [], set(), deque(maxlen=_RECENT)
        try:
            yield self
        finally:
            self.runs, self.leaked, self._recent = kept


def _record(run: Run, pipe) -> None:
    write, read = pipe.writer.write, pipe.reader.read

    def writes(data):
        if len(run.wire) < _WIRE:
            run.wire.extend(data)
        return write(data)

    async def reads(*args):
        data = await read(*args)
        if len(run.wire) < _WIRE:
            run.wire.extend(data)
        return data

    pipe.writer.write, pipe.reader.read = writes, reads


def watch_sandboxes(patch: pytest.MonkeyPatch, watch: Blindness) -> None:
    """Each conclave of a box in this process is looked at just before it ends."""
    from bento.box.instances import Instances

    end = Instances._end

    async def ends(self, instance):
        if is_conclave(instance.terms.manifest.image):
            notes = {"the box's notes": repr(vars(instance)).encode()}
            watch.look(notes | standing([instance.sandbox.pid], most=OF_A_FILE))
        await end(self, instance)

    patch.setattr(Instances, "_end", ends)


# -- commands ----------------------------------------------------------------------------------


def told_by_commands(folder: Path) -> tuple[dict[bytes, str], set[str], int]:
    """(secrets, leaks, channels) of all commands that ran watched."""
    secrets: dict[bytes, str] = {}
    leaks: set[str] = set()
    channels = 0
    for path in folder.iterdir():
        note = json.loads(path.read_bytes())
        secrets |= {bytes.fromhex(word): what for word, what in note["secrets"].items()}
        leaks |= set(note["leaks"])
        channels += note["channels"]
    return secrets, leaks, channels


def main() -> None:
    """Runs a command, watched; what its channels were is left in the folder."""
    _, program, *words = sys.argv
    sys.argv = [program, *words]
    watch = Blindness()
    with pytest.MonkeyPatch.context() as patch:
        watch.install(patch)
        try:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        finally:
            note = {
                "secrets": {word.hex(): what for word, what in watch.secrets().items()},
                "leaks": watch.found(),
                "channels": len(watch.runs),
            }
            descriptor, _ = tempfile.mkstemp(dir=os.environ[FOLDER])
            with os.fdopen(descriptor, "w") as file:
                json.dump(note, file)


if __name__ == "__main__":
    main()
