"""The turnstile at a real door: who gets in, what the others are told. Real sandboxes, no Tor."""

import asyncio
import hashlib
from dataclasses import replace

import pytest
from tests.local_box import local_box
from tests.waiting import until

from bento.box import terms
from bento.box.config import Admission
from bento.box.pricing import Pricing
from bento.client.door import knock
from bento.client.patience import Patience
from bento.errors import BusyError, HostError
from bento.protocol.door import Create
from bento.protocol.manifest import Manifest

PRICED = Admission()  # as boxes are by default

ECHO = b"def main(api):\n    api.send(b'here')\n"
CHEAP = Pricing(core=2)  # the hour at the knee: 120 hashes
CREATE = Create("", hashlib.sha256(ECHO).digest(), b"", b"")


async def knocks(local, request=CREATE):
    return await knock(local.box._route, request, local.box.name.key_hash)


async def test_an_idle_box_asks_for_nothing_and_a_loaded_one_says_its_price():
    async with local_box(PRICED, instances=4) as local:
        local.turnstile.pricing = CHEAP
        prices = []
        for _ in range(4):
            prices.append((await local.box.inquire()).price)
            await local.box.install(ECHO)
        assert prices[:2] == [0, 0]
        assert 0 < prices[2] < prices[3]


async def test_a_price_is_paid_by_the_client_itself():
    async with local_box(PRICED, instances=4) as local:
        local.turnstile.pricing = CHEAP
        for number in range(4):
            assert (local.turnstile.price > 0) == (number >= 2)
            _, session = await local.box.run(ECHO)
            assert await session.read() == b"here"


async def test_what_is_paid_for_is_told():
    async with local_box(PRICED, instances=2) as local:
        local.turnstile.pricing = Pricing(core=1000)
        await local.box.install(ECHO)
        box, heard = local.box, []
        box.on_wait = heard.append
        await box.install(ECHO)
        assert heard and "busy" in heard[0]


async def test_a_refusal_names_the_price_in_words_and_for_machines():
    async with local_box(PRICED, instances=2) as local:
        await local.box.install(ECHO)
        with pytest.raises(BusyError, match="the box is busy.* of work now") as refused:
            await knocks(local)
        assert refused.value.quote.work == local.turnstile.pricing.price(Manifest(), 0.5, 2)


async def test_a_solution_buys_one_place():
    async with local_box(PRICED, instances=8) as local:
        local.turnstile.pricing = CHEAP
        for _ in range(4):
            await local.box.install(ECHO)
        with pytest.raises(BusyError) as refused:
            await knocks(local)
        solution = await Patience(60).satisfy(refused.value)
        paid = Create("", CREATE.function, solution, b"")
        (_, _, pipe) = await knocks(local, paid)
        pipe.writer.close()
        with pytest.raises(BusyError):
            await knocks(local, paid)


async def test_a_user_may_ask_for_a_shorter_time_and_pays_less():
    async with local_box(PRICED, instances=2) as local:
        local.turnstile.pricing = Pricing(core=1 << 50)
        prices = []
        brief = local.box
        brief.lifetime = 120
        await brief.install(ECHO)
        assert next(iter(local.instances)).terms.manifest.lifetime == 120
        for box in (local.box, brief):
            with pytest.raises(BusyError) as refused:
                await box.install(ECHO)
            prices.append(refused.value.quote.work)
        assert prices[0] == 30 * prices[1]


async def test_a_user_decides_what_a_place_may_cost():
    async with local_box(PRICED, instances=2) as local:
        local.turnstile.pricing = Pricing(core=1 << 50)
        await local.box.install(ECHO)
        with pytest.raises(BusyError, match="busy"):
            await local.box.install(ECHO)


async def test_a_full_box_names_a_time_and_a_patient_client_gets_in_when_a_place_is_free():
    async with local_box(PRICED, instances=1, pool=0) as local:
        local.turnstile.pricing = CHEAP
        first = await local.box.install(ECHO)
        impatient = local.box
        impatient.patience = 0.1
        with pytest.raises(BusyError, match="full") as refused:
            await impatient.install(ECHO)
        assert refused.value.wait > 0
        patient, heard = local.box, []
        patient.on_wait = heard.append
        waiting = asyncio.create_task(patient.install(ECHO))
        await until(lambda: heard)
        await first.shutdown()
        await waiting
        assert len(local.instances) == 1


async def test_a_box_may_ask_for_nothing_ever():
    async with local_box(instances=2) as local:
        local.turnstile.pricing = Pricing(core=1 << 50)
        for _ in range(2):
            await local.box.install(ECHO)


async def test_starting_and_ending_in_a_loop_gets_a_price():
    async with local_box(PRICED, instances=4) as local:
        for _ in range(100):
            local.turnstile._churn.add()
        assert (await local.box.inquire()).price > 0


async def test_a_place_that_could_not_be_given_was_not_paid_for(monkeypatch):
    async with local_box(PRICED, instances=4) as local:
        local.turnstile.pricing = CHEAP
        for _ in range(2):
            await local.box.install(ECHO)
        with pytest.raises(BusyError) as refused:
            await knocks(local)
        paid = Create("", CREATE.function, await Patience(60).satisfy(refused.value), b"")

        async def fail(_):
            raise HostError("no memory")

        take = local.instances._take
        local.instances._take = fail
        with pytest.raises(Exception, match="cannot start a sandbox"):
            await knocks(local, paid)
        local.instances._take = take
        (_, _, pipe) = await knocks(local, paid)
        pipe.writer.close()


async def test_an_instance_whose_code_never_comes_ends_by_itself(monkeypatch):
    original = terms.Terms.start
    monkeypatch.setattr(
        terms.Terms,
        "start",
        lambda self, expires: original(_impatient(self), expires),
    )
    async with local_box(PRICED, instances=4) as local:
        installed = await local.box.install(ECHO)
        (_, _, pipe) = await knocks(local)
        assert len(local.instances) == 2
        await until(lambda: len(local.instances) == 1)
        pipe.writer.close()
        session = await installed.invoke()
        assert await session.read() == b"here"


def _impatient(given):
    return replace(given, patience=1)
