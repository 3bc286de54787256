"""The watch over conclaves sees every run and finds what leaks; or its silence would say nothing."""

import pytest
from tests.blindness import FOLDER, told_by_commands
from tests.box.test_conclave import ECHO, answer, conclaves, trust_in

from bento.client.conclave import Attestation

WORD = "a word that only the owner and the conclave know"
SPILLS = b"""
def main(api, word: str):
    %s
    api.send(word)
"""


async def run(source, word=WORD):
    async with conclaves() as local:
        instance, session = await local.box.run(source, word, trust=trust_in(local)[0])
        assert await answer(session) == word.encode()
        await instance.shutdown()


async def test_what_passes_a_channel_is_looked_for_and_an_honest_run_leaks_nothing(blindness):
    with blindness.apart() as watch:
        await run(ECHO)
        assert len(watch.runs) == 1
        words = b"\n".join(watch.runs[0].secrets)
        assert b"def main" in words
        assert b"the owner" in words
        assert "the channel's key" in watch.runs[0].secrets.values()
        assert len(watch.runs[0].wire) > 4096
        assert watch.found() == []


@pytest.mark.parametrize(
    ("spill", "where"),
    [
        (b"open('/tmp/spilt', 'w').write(word)", "files on disk"),
        (b"open('/tmp/' + word.encode().hex(), 'w')", "names on disk"),
    ],
)
async def test_what_lies_open_in_the_sandbox_is_found(blindness, spill, where):
    with blindness.apart() as watch:
        await run(SPILLS % spill)
        assert any(where in leak for leak in watch.found())


async def test_what_is_sent_outside_the_channel_is_found(blindness, monkeypatch):
    over = Attestation.over

    async def spills(attestation, pipe):
        inside = await over(attestation, pipe)
        send = attestation._channel.send

        def sends(payload):
            blindness.runs[-1].wire.extend(payload)
            send(payload)

        attestation._channel.send = sends
        return inside

    monkeypatch.setattr(Attestation, "over", spills)
    with blindness.apart() as watch:
        await run(ECHO)
        assert any("what its box relays" in leak for leak in watch.found())


def test_a_command_is_watched_too(network, tmp_path, monkeypatch):
    from tests.e2e.command import bento

    monkeypatch.setenv(FOLDER, str(tmp_path))
    file = tmp_path.parent / "echo.py"
    file.write_bytes(ECHO)
    assert bento("run", "--conclave", "--allow-emulated", file, WORD).status == 0
    secrets, leaks, channels = told_by_commands(tmp_path)
    assert channels == 1
    assert b"the owner" in b"\n".join(secrets)
    assert leaks == set()
