"""A function drives tor: through the whole of a real box, with the stem of its image, unmodified."""

from __future__ import annotations

import asyncio
import json
import textwrap
from pathlib import Path

import pytest
from tests.e2e.web import web_site
from tests.local_box import local_box

from bento.box.beside import RelayFacts
from bento.box.config import Egress
from bento.client.network import Network, TorEndpoints
from bento.errors import FunctionError, PolicyError, TorError
from bento.tor.controller import Controller
from bento.tor.exit_policy import ExitPolicy
from bento.tor.socks import open_stream

pytestmark = pytest.mark.network

HEAD = 'memory = "160 MiB"\n'


def function(body: str, manifest: str) -> bytes:
    lines = [f"# {line}" for line in (HEAD + manifest).splitlines()]
    return "\n".join(["# /// bento", *lines, "# ///", textwrap.dedent(body)]).encode()


@pytest.fixture
async def user(network, tmp_path):
    endpoints = TorEndpoints(*network.user_tor())
    async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as opened:
        yield opened


async def ask_tor(network, box: str, key: str) -> str:
    """What the functions' tor of a box says itself, past the firewall."""
    async with await Controller.connect(f"unix:{network.run / box}-functions.control") as tor:
        await tor.authenticate()
        return (await tor.get_info(key))[key]


async def told(session) -> dict:
    """The next line that a function sends, as JSON."""
    line = b""
    async for piece in session:
        line += piece
        if line.endswith(b"\n"):
            return json.loads(line)
    raise AssertionError(f"the function ended after {line!r}")


CIRCUITS = """
import json, socket, threading
from stem.control import EventType, Listener

def through_tor(proxy, host, port):
    sock = socket.create_connection(proxy, 60)
    sock.sendall(b"\\x05\\x01\\x02")
    assert sock.recv(2) == b"\\x05\\x02"
    sock.sendall(b"\\x01\\x04mine\\x01x")
    assert sock.recv(2) == b"\\x01\\x00"
    name = host.encode()
    sock.sendall(b"\\x05\\x01\\x00\\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    assert sock.recv(10)[1] == 0
    return sock

def main(api, host: str, port: int):
    tor = api.stem()
    relays = {status.nickname: status.fingerprint for status in tor.get_network_statuses()}
    path = [relays[name] for name in ("relay0", "relay1", "exit0")]
    circuit = tor.new_circuit(path, await_build=True, timeout=120)
    seen = []
    def attach(stream):
        seen.append(stream.status)
        if stream.status == "NEW":
            tor.attach_stream(stream.id, circuit)
    tor.add_event_listener(attach, EventType.STREAM)
    tor.set_conf("__LeaveStreamsUnattached", "1")
    [proxy] = tor.get_listeners(Listener.SOCKS)
    web = through_tor(proxy, host, port)
    web.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    page = web.makefile("rb").read().decode()
    try:
        tor.new_circuit([relays["box1"], path[0], path[2]])
        own = "built"
    except Exception as error:
        own = str(error)
    api.send(json.dumps({
        "path": [fingerprint == relays[name] for (fingerprint, name) in zip(
            [fingerprint for fingerprint, _ in tor.get_circuit(circuit).path],
            ("relay0", "relay1", "exit0"))],
        "page": page.rpartition("\\n")[2], "statuses": seen,
        "own relay": own, "proxy": proxy,
    }) + "\\n")
"""


async def test_an_unmodified_stem_program_builds_circuits_and_attaches_its_streams(user):
    manifest = 'egress = ["127.80.0.0/16:*"]\ntor = ["circuits", "streams", "events", "directory"]'
    with web_site({"/": b"the page"}) as (site, visits):
        host, port = site.removeprefix("http://").split(":")
        async with await user.box("box1") as box:
            instance, session = await box.run(function(CIRCUITS, manifest), host, int(port))
            found = await told(session)
            await instance.shutdown()
    assert found["path"] == [True, True, True]
    assert found["page"] == "the page"
    assert found["statuses"][0] == "NEW" and "SUCCEEDED" in found["statuses"]
    assert "box's own relay" in found["own relay"]
    assert found["proxy"] == ["127.0.0.1", 9050]


SERVICES = """
import json, socket, threading

def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"a plain server heard " + connection.recv(100))
        connection.close()

def main(api):
    listener = socket.create_server(("127.0.0.1", 8080))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    plain = api.stem().create_ephemeral_hidden_service({80: 8080}, await_publication=True)
    with api.onion_service(81) as service:
        api.send(json.dumps([plain.service_id + ".onion", service.address]) + "\\n")
        for connection in service:
            connection.sendall(b"the function heard " + connection.recv(100))
            connection.close()
"""


async def test_onion_services_lead_into_the_function_and_end_with_it(network, user):
    status = await network.status()
    async with await user.box("box1") as box:
        manifest = 'tor = ["onion-services=2", "events"]'
        instance, session = await box.run(function(SERVICES, manifest))
        plain, own = await told(session)
        for address, port, said in ((plain, 80, "a plain server"), (own, 81, "the function")):
            reader, writer = await open_stream(status.socks, address, port)
            writer.write(b"hello")
            assert await reader.read() == f"{said} heard hello".encode()
            writer.close()
        doors = list((network.run / "box1").glob("*.onion"))
        assert len(doors) == 2
        assert own.removesuffix(".onion") in await ask_tor(network, "box1", "circuit-status")
        await instance.shutdown()
    assert not any(door.exists() for door in doors)
    for address in (plain, own):
        with pytest.raises(TorError):
            await open_stream(status.socks, address, 81 if address == own else 80)


async def test_the_example_of_a_web_site_is_one(network, user):
    upload = (Path(__file__).parents[2] / "examples" / "onion_site.py").read_bytes()
    status = await network.status()
    async with await user.box("box1") as box:
        instance, session = await box.run(upload, "Good day.")
        async for piece in session:
            address = piece.decode().strip().removeprefix("http://").rstrip("/")
            break
        reader, writer = await open_stream(status.socks, address, 80)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nGood day.")
        writer.close()
        await instance.shutdown()


async def test_a_box_that_is_no_exit_sends_what_functions_ask_for_through_tor(network):
    tor = {
        "functions_control": f"unix:{network.run}/box2-functions.control",
        "functions_socks": f"unix:{network.run}/box2-functions.socks",
    }
    source = function(
        """
        import urllib.request
        def main(api, url: str):
            return urllib.request.urlopen(url).read()
        """,
        'egress = ["127.80.0.0/16:*"]',
    )
    egress = Egress(via="tor", test_web="127.80.0.0/16")
    with web_site({"/": b"the page"}) as (site, visits):
        async with local_box(tor=tor, egress=egress) as local:
            # Nothing may leave the box itself: what arrives went through Tor.
            local.guard.update(RelayFacts(ExitPolicy.parse("reject *:*"), frozenset()))
            instance, session = await local.box.run(source, site)
            assert await session.read() == b"the page"
            await instance.shutdown()
    assert len(visits) == 1


LOOKS = """
import json

def main(api, service: bool):
    tor = api.stem()
    events = []
    for kind in ("CIRC", "STREAM", "HS_DESC"):
        tor.add_event_listener(lambda event: events.append(str(event)), kind)
    made = tor.new_circuit(timeout=120, await_build=True)
    onion = tor.create_ephemeral_hidden_service(80).service_id if service else ""
    api.send(json.dumps({"made": made, "onion": onion}) + "\\n")
    while line := api.recv():
        others = json.loads(line)
        reply = [str(tor.msg("CLOSECIRCUIT " + others["made"]))]
        if others["onion"]:
            reply.append(str(tor.msg("DEL_ONION " + others["onion"])))
        api.send(json.dumps({
            "circuits": [c.id for c in tor.get_circuits()],
            "services": tor.list_ephemeral_hidden_services([]),
            "events": events, "replies": reply,
        }) + "\\n")
"""


async def test_two_functions_see_nothing_of_each_other_and_leave_nothing(network, user):
    upload = function(LOOKS, 'tor = ["circuits", "onion-services", "events", "streams"]')
    async with await user.box("box1") as box:
        one, first = await box.run(upload, True)
        two, second = await box.run(upload, False)
        mine, other = await told(first), await told(second)
        await second.send(json.dumps(mine).encode())
        view = await told(second)
        assert view["circuits"] == [other["made"]]
        assert view["services"] == []
        assert not any(mine["onion"] in event for event in view["events"])
        assert all("Unknown" in reply for reply in view["replies"])
        await first.send(json.dumps(other).encode())
        view = await told(first)
        assert other["made"] not in view["circuits"] and mine["made"] in view["circuits"]
        assert view["services"] == [mine["onion"]]
        await one.shutdown()
        await two.shutdown()

    async with asyncio.timeout(120):  # tor sees the connections end in its own time
        while True:
            status = await ask_tor(network, "box1", "circuit-status")
            open_now = {line.split()[0] for line in status.splitlines()}
            if not {mine["made"], other["made"]} & open_now and mine["onion"] not in status:
                return
            await asyncio.sleep(0.05)


async def test_a_recorded_function_is_told_the_line_for_what_it_did(user):
    lines: list[str] = []
    upload = function(
        "def main(api):\n    api.stem().get_info('ns/all')\n    api.stem().get_circuits()",
        'tor = ["record"]',
    )
    async with await user.box("box1") as box:
        instance, session = await box.run(upload, on_log=lines.append)
        await session.read()
        await instance.shutdown()
    assert lines == ['tor = ["circuits=1", "directory=60"]']


async def test_what_the_manifest_does_not_ask_for_is_refused_with_the_line_that_would_allow_it(
    user,
):
    async with await user.box("box1") as box:
        upload = function("def main(api):\n    api.stem().new_circuit()", 'tor = ["events"]')
        instance, session = await box.run(upload)
        with pytest.raises(FunctionError) as caught:
            await session.read()
        assert 'tor = ["circuits"]' in "".join(caught.value.__notes__)
        await instance.shutdown()
        with pytest.raises(PolicyError, match="circuits=65|must be 1 to 64"):
            await box.run(function("def main(api): pass", 'tor = ["circuits=65"]'))


async def test_the_functions_tor_avoids_the_boxes_own_relay(network):
    async with await Controller.connect(f"unix:{network.run / 'box1'}-functions.control") as tor:
        await tor.authenticate()
        excluded = (await tor.command("GETCONF ExcludeNodes")).text
    async with await Controller.connect(f"unix:{network.run / 'box1'}.control") as relay:
        await relay.authenticate()
        fingerprint = (await relay.get_info("fingerprint"))["fingerprint"]
    assert f"${fingerprint}" in excluded
