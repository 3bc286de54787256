"""`bento run` asks for minutes, and for fewer where they are dear; whoever names a time gets that."""

from __future__ import annotations

import argparse
import contextlib

import pytest
from tests.local_box import local_box

from bento import face
from bento.box.config import Admission
from bento.cli import run
from bento.client.brief import attempts
from bento.errors import BoxError, BusyError, UsageError
from bento.protocol.manifest import Manifest

ECHO = b"def main(api):\n    api.send(b'here')\n"
LONG = b'# /// bento\n# lifetime = "30m"\n# ///\n' + ECHO


def lifetimes(manifest):
    return [Manifest.parse(text).lifetime for text, _ in attempts(manifest)]


def test_a_time_the_manifest_names_is_the_only_one_asked_for():
    assert lifetimes('lifetime = "30m"') == [1800]
    assert lifetimes('memory = "32 MiB"') == [600, 300, 120, 60, 60]
    assert {Manifest.parse(text).memory for text, _ in attempts("memory = 1000000")} == {1000000}


def test_a_wrong_manifest_is_told_before_anything_is_asked():
    with pytest.raises(UsageError, match="is wrong"):
        attempts('lifetime = "soon"')


async def given(local, upload, **place):
    box = local.box
    for name, value in place.items():
        setattr(box, name, value)
    instance, session = await box.run(upload)
    assert await session.read() == b"here"
    [there] = local.instances
    await instance.shutdown()
    return there.terms.manifest.lifetime


async def test_what_is_run_once_asks_for_what_it_can_pay():
    async with local_box(Admission()) as local:
        assert await given(local, ECHO) == 3600
        assert await given(local, ECHO, brief=True) == 600
        local.turnstile._price = lambda manifest: 10**15 if manifest.lifetime > 120 else 0
        assert await given(local, ECHO, brief=True) == 120
        for asked in ({"lifetime": 600}, {}):
            with pytest.raises(BusyError, match="costs about"):
                await given(local, LONG, brief=True, **asked)
        local.turnstile._price = lambda manifest: 10**15
        with pytest.raises(BusyError, match="costs about"):
            await given(local, ECHO, brief=True)


class Ended:
    """A box whose instance is over while its session goes on."""

    expires = 0

    async def run(self, *_, **__):
        return self, self

    async def shutdown(self):
        raise BoxError("the box knows no such token")


def test_a_run_whose_time_was_over_says_so(monkeypatch, tmp_path):
    @contextlib.asynccontextmanager
    async def connect(**place):
        assert place["brief"]
        yield Ended()

    async def converse(_):
        raise BoxError("the connection broke")

    monkeypatch.setattr(face, "connect", connect)
    monkeypatch.setattr(run, "converse", converse)
    file = tmp_path / "echo.py"
    file.write_bytes(ECHO)
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    run.arguments(parser)
    with pytest.raises(BoxError, match="time was over") as error:
        run.run(parser.parse_args([str(file)]))
    assert "--lifetime" in error.value.hint
