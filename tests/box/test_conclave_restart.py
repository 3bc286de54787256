"""A conclave outlives bentod as any instance does, and is attested anew afterwards. Real processes."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.box.test_conclave import ECHO, answer
from tests.crash.process_box import process_box

import bento
from bento.client.conclave import Trust
from bento.conclave.appraise import Roots
from bento.conclave.attesters.emulated import EmulatedPlatform
from bento.conclave.trust import TrustPolicy
from bento.errors import AttestationError


@pytest.fixture
async def box():
    async with process_box() as box:
        with box.config.open("a") as config:
            config.write('[conclave]\nattester = "emulated"\n')
        yield box


async def test_after_an_upgrade_older_guests_are_what_they_were_measured_as(box, tmp_path):
    """The new release's guests are another runtime, which this client does not know."""
    await box.start()
    root = EmulatedPlatform.load(box.state / "emulated").root
    trust = Trust(TrustPolicy().allowing_emulated(), Roots(emulated=root))
    instance = await box.box.install(ECHO, trust)
    await box.end(signal.SIGTERM)
    newer = tmp_path / "newer"
    shutil.copytree(Path(bento.__file__).parent, newer / "bento")
    with (newer / "bento/conclave/inside.py").open("a") as source:
        source.write("# what another release has\n")
    await box.start(env=os.environ | {"PYTHONPATH": str(newer)})
    assert await answer(await instance.invoke("as before")) == b"as before"
    with pytest.raises(AttestationError, match="runtime"):
        await box.box.install(ECHO, trust)
    await instance.shutdown()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_conclave_goes_on_and_is_attested_after_a_restart(box, end):
    await box.start()
    told = []
    root = EmulatedPlatform.load(box.state / "emulated").root
    trust = Trust(TrustPolicy().allowing_emulated(), Roots(emulated=root), told.append)
    instance = await box.box.install(ECHO, trust)
    session = await instance.invoke("before ")
    await session.started()
    await session.detach()
    await box.end(end)
    await box.start()
    assert await answer(await instance.invoke("after")) == b"after"
    again = await box.box.attach(session.name, trust=trust)
    assert await answer(again, b"and on") == b"before and on"
    assert len(told) == 4, "each channel was attested, those after the restart too"
    await instance.shutdown()
