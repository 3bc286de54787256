"""A function in a conclave on a real box: attested, uploaded through the channel, run, ended. No Tor."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import secrets
import socket
import time
import zipfile
from pathlib import Path

import pytest
from tests.conclave_views import memory_holds, outside
from tests.door_tap import DoorTap
from tests.local_box import local_box

from bento.box import attester
from bento.client import holders
from bento.client.conclave import Trust
from bento.client.upload import Upload
from bento.conclave.appraise import Roots
from bento.conclave.attesters.base import Hardware
from bento.conclave.attesters.emulated import EmulatedAttester, EmulatedPlatform
from bento.conclave.channel import ClientChannel
from bento.conclave.channel_guest import GuestChannel
from bento.conclave.tls import Credential
from bento.conclave.trust import TrustPolicy
from bento.errors import AttestationError, BoxError, FunctionError, HostError, PolicyError
from bento.guest import blob
from bento.protocol import control
from bento.protocol.capability import Capability
from bento.protocol.caveats import Holder, NotAfter, Only, Uses
from bento.protocol.ticket import SessionTicket, Ticket
from bento.protocol.wire import encode

ECHO = b"""
def main(api, greeting: str = "", times: int = 1):
    api.send(greeting * times)
    for piece in api:
        api.send(piece)
"""
DAY = 86400


def platform(box):
    return EmulatedPlatform.load(box.config.state / "emulated")


def trust_in(box, **changes):
    told = []
    policy = TrustPolicy().allowing_emulated().override(**changes)
    return Trust(policy, Roots(emulated=platform(box).root), told.append), told


@contextlib.asynccontextmanager
async def conclaves():
    async with local_box(attester="emulated", pool=0) as box:
        yield box


@pytest.fixture
async def local():
    async with conclaves() as box:
        yield box


async def answer(session, data=b""):
    if data:
        await session.send(data)
    await session.close_input()
    return await session.read()


# --- it works


async def test_a_function_runs_in_a_conclave_once_its_evidence_is_accepted(local):
    trust, told = trust_in(local)
    instance, session = await local.box.run(ECHO, "hi ", times=2, trust=trust)
    assert "EMULATED: the operator can read everything" in told[0].summary
    assert "runtime published" in told[0].summary
    assert await answer(session, b"there") == b"hi hi there"
    assert await answer(await instance.invoke("again")) == b"again"
    assert len(told) == 2, "every channel is attested"
    await instance.shutdown()
    assert len(local.instances) == 0


async def test_much_goes_through_the_channel_both_ways(local):
    trust, _ = trust_in(local)
    instance, session = await local.box.run(ECHO, trust=trust)
    data = secrets.token_bytes(3 << 20)
    await session.send(data)
    assert await answer(session) == data
    await instance.shutdown()


async def test_a_manifest_can_demand_a_conclave(local):
    """Then the default policy decides, which accepts hardware only."""
    demand = b'# /// bento\n# image = "python-conclave"\n# ///\n' + ECHO
    with pytest.raises(AttestationError):
        await local.box.run(demand)
    trust, told = trust_in(local)
    instance, session = await local.box.run(demand, "x", trust=trust)
    assert await answer(session) == b"x"
    assert told


FILES = b"""
# /// bento
# memory = "128 MiB"
# disk = "32 MiB"
# ///
import os, shutil, sqlite3
def main(api):
    folder = api.data
    (folder / "large").write_bytes(b"sealed words. " * (20 << 16))  # more than there is room in memory
    assert (folder / "large").read_bytes() == b"sealed words. " * (20 << 16)
    with open(folder / "notes", "wb") as file:
        file.write(b"0123456789")
    with open(folder / "notes", "r+b") as file:
        file.seek(3)
        file.write(b"abc")
    with open(folder / "notes", "ab") as file:
        file.write(b"!")
    os.rename(folder / "notes", folder / "kept")
    shutil.copy(folder / "kept", folder / "copy")
    base = sqlite3.connect(folder / "base")
    base.execute("create table words (word)")
    base.execute("insert into words values ('stored')")
    base.commit()
    base.close()
    word = sqlite3.connect(folder / "base").execute("select word from words").fetchone()[0]
    api.send(repr([sorted(os.listdir(folder)), (folder / "copy").read_bytes(), word]))
    api.recv()
"""


async def test_ordinary_file_use_works_on_the_sealed_folder(local):
    trust, _ = trust_in(local)
    instance, session = await local.box.run(FILES, trust=trust)
    names = b"['base', 'copy', 'kept', 'large']"
    assert await anext(aiter(session)) == b"[" + names + b", b'012abc6789!', 'stored']"
    pid = next(iter(local.instances)).sandbox.pid
    below = Path(f"/proc/{pid}/root/tmp")
    assert {path.name for path in below.iterdir()} == {"sealed"}
    [one] = (below / "sealed").iterdir()
    assert len(one.name) == 32, "names are random"
    assert b"sealed words" not in one.read_bytes()
    assert await answer(session) == b""
    await instance.shutdown()


async def test_a_zip_is_loaded_without_being_written_down(local):
    trust, _ = trust_in(local)
    upload = io.BytesIO()
    with zipfile.ZipFile(upload, "w") as archive:
        archive.writestr("__main__.py", "from parcel import main\n")
        archive.writestr("parcel.py", "def main(api):\n    api.send(b'zipped')\n    api.recv()\n")
    instance, session = await local.box.run(upload.getvalue(), trust=trust)
    assert await anext(aiter(session)) == b"zipped"
    pid = next(iter(local.instances)).sandbox.pid
    assert {path.name for path in Path(f"/proc/{pid}/root/tmp").iterdir()} == {"sealed"}
    assert await answer(session) == b""
    await instance.shutdown()


async def test_a_failing_function_tells_its_owner_and_nobody_else(local):
    trust, _ = trust_in(local)
    failing = b"def main(api):\n    raise ValueError('a private reason')\n"
    instance, session = await local.box.run(failing, trust=trust)
    with pytest.raises(FunctionError) as raised:
        await answer(session)
    assert "a private reason" in "".join(raised.value.__notes__)
    stranger = local.box.instance(instance.ticket, trust=trust)
    with pytest.raises(FunctionError) as raised:
        await answer(await stranger.invoke())
    assert not hasattr(raised.value, "__notes__")


async def test_a_box_without_conclaves_refuses_one():
    async with local_box() as plain:
        with pytest.raises(PolicyError, match="python-conclave"):
            await plain.box.run(ECHO, trust=Trust())


# --- what the box cannot do


STORY = b"""
# /// bento
# memory = "128 MiB"
# disk = "32 MiB"
# ///
SECRET_CODE = "%(code)s"
def main(api, argument: str):
    folder = api.data
    (folder / "others").write_bytes(bytes(16 << 20))  # so that there is no more room in memory
    (folder / "%(name)s").write_text("%(stored)s" + argument + " " * 40_000)
    print("%(printed)s")
    api.log("%(logged)s")
    api.send("%(answer)s" + api.recv().decode() + (folder / "%(name)s").read_text().strip())
    api.recv()
"""


async def test_the_operator_sees_nothing_of_the_function_but_in_its_memory(local, caplog):
    """Everything relayed, stored, logged, and every process's arguments and environment."""
    caplog.set_level("DEBUG")
    parts = ("code", "name", "stored", "printed", "logged", "answer", "argument", "input")
    canary = {part: f"{part}{secrets.token_hex(12)}" for part in parts}
    source = STORY % {part.encode(): text.encode() for part, text in canary.items()}
    trust, told = trust_in(local)
    logs = []
    async with DoorTap(local).running() as tap:
        box = tap.box
        instance, session = await box.run(
            source, canary["argument"], trust=trust, on_log=logs.append
        )
        await session.send(canary["input"].encode())
        received = await anext(aiter(session))
        expected = canary["answer"] + canary["input"] + canary["stored"] + canary["argument"]
        assert received == expected.encode()
        assert logs == [canary["printed"], canary["logged"]]
        views = outside(local, tap, caplog.text)
        pid = next(iter(local.instances)).sandbox.pid
        readable = memory_holds(pid, canary["stored"].encode() + canary["argument"].encode())
        await session.detach()
        await instance.shutdown()
        views["relayed"] += tap.seen
    assert len(views["files on disk"]) > 4096, "there is a sealed file"
    needles = [text.encode() for text in canary.values()]
    needles += [hashlib.sha256(source).digest(), instance.owner, b"SECRET_CODE", b"def main"]
    needles += [instance.ticket.inner.seal]
    for view, content in views.items():
        for needle in needles:
            for form in (needle, needle.hex().encode()):
                assert form not in content, f"{needle!r} is among what is {view}"
    # The honest half: without hardware root reads it all in memory, and the verdict says so.
    assert readable
    assert "the operator can read everything" in told[0].summary


async def test_the_box_cannot_tell_one_function_from_another_by_its_hash(local):
    """The same function twice: two commitments, neither of them its hash."""
    trust, _ = trust_in(local)
    instances = [await local.box.install(ECHO, trust) for _ in range(2)]
    told = {instance.terms.function for instance in local.instances}
    assert len(told) == 2
    assert hashlib.sha256(ECHO).digest() not in told
    for instance in instances:
        await instance.shutdown()


async def test_the_box_can_put_no_other_function_in_its_place(local):
    """Whoever uploads first owns the instance, but only the committed function is loaded."""
    trust, _ = trust_in(local)
    instance, pipe, _ = await local.box._create(ECHO, trust)
    other = Upload(bytes(32) + ECHO, instance.owner)
    await other.send(pipe)
    with pytest.raises(FunctionError, match="not the function"):
        await other.loaded(pipe, instance.learn)
    pipe.writer.close()
    await instance.shutdown()


async def test_the_operator_can_end_an_instance_and_not_use_it(local):
    """A box mints what outer tokens it likes; the conclave asks for its own, made inside."""
    trust, _ = trust_in(local)
    instance = await local.box.install(ECHO, trust)
    own = instance.ticket
    kept = next(iter(local.instances))
    tokens = local.instances._tokens
    outer = Capability.mint(tokens._root(own.token.name), own.token.name, *own.token.caveats)
    assert outer == own.token, "the box can make the very token it gave"
    for inner in (None, outer, own.inner.narrow(Only(0))):
        forged = local.box.instance(Ticket(own.box, outer, own.pin, inner=inner), trust=trust)
        with pytest.raises(BoxError, match="knows no such token|does not allow"):
            await answer(await forged.invoke("x"))
    giver = local.box.instance(Ticket.parse(own.encode()), trust=trust)
    assert await answer(await giver.invoke("x")) == b"x", "a holder of the whole ticket may"
    await local.instances.end(kept)
    with pytest.raises(BoxError):
        await instance.invoke()


async def test_a_conclave_counts_uses_itself(local):
    """The box forgets to count, and its operator hands out a fresh outer token each time."""
    trust, _ = trust_in(local)
    instance = await local.box.install(ECHO, trust)
    own = instance.ticket
    twice = own.narrow(Uses(bytes(8), 2), NotAfter(int(time.time()) + 600))
    lent = Ticket(own.box, own.token, own.pin, inner=twice.inner)  # its outer half is not narrowed
    for _ in range(2):
        assert await answer(await local.box.instance(lent, trust=trust).invoke("x")) == b"x"
    with pytest.raises(BoxError, match="spent"):
        await answer(await local.box.instance(lent, trust=trust).invoke("x"))
    late = Ticket(own.box, own.token, own.pin, inner=own.inner.narrow(NotAfter(1)))
    with pytest.raises(BoxError, match="time is over"):
        await answer(await local.box.instance(late, trust=trust).invoke("x"))
    await instance.shutdown()


async def test_a_token_inside_can_be_bound_to_its_holders_key(local, monkeypatch, tmp_path):
    monkeypatch.setenv("BENTO_HOME", str(tmp_path))
    trust, _ = trust_in(local)
    instance = await local.box.install(ECHO, trust)
    bound = instance.ticket.narrow(Holder(holders.parse(holders.make())))
    lent = local.box.instance(bound, trust=trust)
    assert await answer(await lent.invoke("x")) == b"x"
    # Whoever copies a proof has it for another channel: here, one that signed something else.
    right = holders.prove
    monkeypatch.setattr(
        "bento.client.conclave.prove", lambda token, _, *rest: right(token, bytes(32), *rest)
    )
    with pytest.raises(BoxError, match="holder of a key"):
        await answer(await lent.invoke("x"))
    await instance.shutdown()


async def test_a_session_in_a_conclave_is_left_and_found_again(local):
    trust, told = trust_in(local)
    instance = await local.box.install(ECHO, trust)
    session = await instance.invoke("first ")
    await session.started()
    await session.detach()
    name = SessionTicket.parse(session.name.encode())
    again = await local.box.attach(name, trust=trust)
    assert await answer(again, b"last") == b"first last"
    with pytest.raises(AttestationError):
        await local.box.attach(name, trust=Trust())
    await instance.shutdown()


# --- what is refused, before anything is uploaded


@pytest.fixture
def sent(monkeypatch):
    """Every byte that a client gives its channels to send."""
    kept = []
    send = ClientChannel.send
    monkeypatch.setattr(
        ClientChannel, "send", lambda self, data: (kept.append(data), send(self, data))
    )
    return kept


async def refused(local, sent, match, trust=None, error=AttestationError):
    with pytest.raises(error, match=match):
        await local.box.run(ECHO, trust=trust or trust_in(local)[0])
    assert sent == []
    assert len(local.instances) == 0, "an instance that is not trusted is ended"


async def test_an_emulated_conclave_is_refused_unless_named(local, sent):
    await refused(local, sent, "proves nothing", Trust())
    only_root = Trust(TrustPolicy(), Roots(emulated=platform(local).root))
    await refused(local, sent, "families.*min_level", only_root)


async def test_an_altered_runtime_is_refused(monkeypatch, sent):
    """One comment more in one module: the platform measures another runtime."""
    true = attester.guest()
    changed = tuple((name, source + b"# \n") for name, source in true.modules)
    altered = blob.Conclave(true.inside, (*true.modules[:-1], changed[-1]))
    monkeypatch.setattr(attester, "guest", lambda: altered)
    async with conclaves() as local:
        await refused(local, sent, "not a trusted one")


async def test_replayed_evidence_is_refused(local, sent):
    trust, _ = trust_in(local)
    earlier = []
    answer = local.conclaves._evidence

    async def replay(report_data, measured):
        earlier.append(await answer(report_data, measured))
        return earlier[0]

    local.conclaves._evidence = replay
    instance = await local.box.install(ECHO, trust)
    sent.clear()
    await refused_invoke(instance, sent, "not about this channel")
    await instance.shutdown()


async def refused_invoke(instance, sent, match):
    with pytest.raises(AttestationError, match=match):
        await instance.invoke("secret")
    assert sent == []


async def test_stale_collateral_is_refused(local, sent):
    old = int(time.time()) - 20 * DAY
    measured = attester.measurement(attester.guest())
    local.conclaves._attester = EmulatedAttester(platform(local), measured, old)
    await refused(local, sent, "20 days old")


async def test_the_box_renews_its_collateral_daily(local):
    """An emulated platform's was old when it was last asked; before the next evidence it is new."""
    old = int(time.time()) - 20 * DAY
    measured = attester.measurement(attester.guest())
    local.conclaves._attester = EmulatedAttester(platform(local), measured, old)
    local.conclaves._renewed = old
    trust, told = trust_in(local)
    await (await local.box.install(ECHO, trust)).shutdown()
    assert told


async def test_another_boxs_evidence_is_refused(local, sent):
    """A conclave that was started for another box, and a platform of another maker."""
    right = local.conclaves._identity
    local.conclaves._identity = bytes(32)
    await refused(local, sent, "not about this channel")
    local.conclaves._identity = right
    now, measured = int(time.time()), attester.measurement(attester.guest())
    foreign = EmulatedAttester(EmulatedPlatform.create(now), measured, now)
    local.conclaves._attester = foreign
    await refused(local, sent, "root|chain|signature")


async def test_other_terms_are_refused(local, sent):
    """The instance was made under a manifest, or for a function, that this client did not name."""
    local.conclaves.bound = lambda terms: encode(
        control.Bound(local.conclaves._identity, bytes(32))
    )
    await refused(local, sent, "not about this channel")


async def test_a_man_in_the_middle_with_true_evidence_is_refused(local, sent):
    """The box ends the client's channel itself, and has the true conclave give evidence for it."""
    middles = []
    connect = local.visits.connect

    async def between(instance, opening):
        guest = await connect(instance, opening)
        ours, theirs = socket.socketpair()
        terms = (local.conclaves._identity, instance.terms.bound)
        middles.append(asyncio.create_task(middle(ours, guest, terms)))
        theirs.setblocking(False)
        return theirs

    local.visits.connect = between
    await refused(local, sent, "not about this channel")
    assert [await task for task in middles] == ["true evidence was passed on"]


class _Listening(GuestChannel):
    """Learns the client's nonce."""

    nonce = b""

    def _measure(self, nonce):
        self.nonce = nonce
        super()._measure(nonce)


async def middle(client_sock, guest_sock, terms):
    client = await asyncio.open_connection(sock=client_sock)
    guest = await asyncio.open_connection(sock=guest_sock)
    towards_client, evidence = _Listening(Credential(), *terms), []
    while not towards_client.nonce:
        await step(towards_client, *client)
    towards_guest = ClientChannel(
        lambda found, expected, **_: evidence.append(found), *terms, towards_client.nonce
    )
    while not evidence:
        await step(towards_guest, *guest)
    towards_client.provide(evidence[0])
    client[1].write(towards_client.outgoing())
    await client[1].drain()
    client[1].close()
    guest[1].close()
    return "true evidence was passed on"


async def step(channel, reader, writer):
    writer.write(channel.outgoing())
    channel.receive(await reader.read(1 << 16))
    writer.write(channel.outgoing())


async def test_a_platform_that_is_out_of_order_is_a_clear_error(local, sent):
    class Broken(Hardware):
        def evidence(self, report_data):
            raise HostError("the kernel does not answer")

    local.conclaves._attester = Broken()
    await refused(local, sent, "hung up instead of giving evidence", error=BoxError)
