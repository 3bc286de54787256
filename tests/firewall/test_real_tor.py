"""With a real tor on a private network: unmodified stem programs through the firewall."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.firewall.host import Program, echo, host, open_socks
from tests.small_network import SmallNetwork, small_network, subnet

from bento.firewall import Grants, tor_username
from bento.tor.controller import Controller

pytestmark = pytest.mark.network

NET = 94
WEB = f"{subnet(NET)}.200"
REFUSED_PORT = 81  # of WEB: the exit refuses what its policy summary seems to allow
EXIT = (("ExitRelay", "1"), ("ExitPolicy", f"reject {WEB}:{REFUSED_PORT}, accept *:*"))
# A loaded machine must not make a circuit fail: tor would learn a time-out of a second.
PATIENT = (("LearnCircuitBuildTimeout", "0"), ("CircuitBuildTimeout", "120"))


@pytest.fixture(scope="module")
def network() -> Iterator[SmallNetwork]:
    with small_network(NET, EXIT, PATIENT) as running:
        yield running


def path_of(network: SmallNetwork, *names: str) -> list[str]:
    return [network.fingerprints[name] for name in names]


async def tor_sees(network: SmallNetwork, key: str) -> str:
    """What tor itself says, asked past the firewall."""
    async with await Controller.connect(network.client_control) as tor:
        await tor.authenticate()
        return (await tor.get_info(key))[key]


async def circuit_numbers(network: SmallNetwork) -> set[str]:
    status = await tor_sees(network, "circuit-status")
    return {line.split()[0] for line in status.splitlines()}


async def until(condition) -> None:
    async with asyncio.timeout(120):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_an_unmodified_stem_program_runs_through_the_firewall(network):
    async with host(network.client_control) as box, echo(host=WEB, port=0) as web_port:
        control, settings = box.function()
        async with echo(path=settings.onion_socket):
            proxy_host, proxy_port = network.client_socks.split(":")
            program = await Program.start(
                "circuits_and_service.py",
                control=control,
                socks=[proxy_host, int(proxy_port), tor_username(settings.isolation_key), "x"],
                path=path_of(network, "relay0", "relay1", "exit"),
                web=[WEB, web_port],
            )
            found = await program.result()
            await program.process.wait()
    assert found["path"] == path_of(network, "relay0", "relay1", "exit")
    assert found["listeners"] == [["127.0.0.1", 9050]]
    assert found["relays"] == ["authority", "exit", "relay0", "relay1", "relay2"]
    assert (found["web"], found["attached"]) == ("echo hello", True)
    assert found["streams"] == [["SUCCEEDED", True]]
    assert found["services"] == [found["service"]]
    assert found["key"].startswith("ED25519-V3:") or len(found["key"]) == 88
    assert (found["onion"], found["removed"]) == ("echo knock", True)
    assert ["HS_DESC", "UPLOADED"] in found["events"]
    assert len(found["refused"]) == 4
    [report] = box.reports
    assert report.refusals == {"SETCONF": 1, "SIGNAL": 1, "GETINFO": 1, "SAVECONF": 1}
    assert set(Grants.parse(eval(report.manifest_line[6:])).numbers) == {
        "circuits",
        "streams",
        "onion-services",
        "onion-keys",
        "events",
        "directory",
    }


async def test_two_functions_see_nothing_of_each_other(network):
    async with host(network.client_control) as box:
        first_socket, _ = box.function()
        second_socket, _ = box.function()
        path = path_of(network, "relay1", "relay2", "exit")
        first = await Program.start("keep_alive.py", control=first_socket, path=path, service=True)
        made = await first.result()
        second = await Program.start(
            "keep_alive.py", control=second_socket, path=path[::-1], service=False
        )
        other = await second.result()
        view = await second.ask("look")
        assert view["circuits"] == [other["circuit"]]
        assert (view["streams"], view["services"]) == ([], [])
        assert not any(made["service"] in event for event in view["events"])
        assert all(
            f" {other['circuit']} " in event or "CIRC_BW ID=" + other["circuit"] in event
            for event in view["events"]
        )
        for line in (
            f"CLOSECIRCUIT {made['circuit']}",
            f"EXTENDCIRCUIT {made['circuit']} {network.fingerprints['relay0']}",
            f"DEL_ONION {made['service']}",
        ):
            stranger = (await second.ask(line))["reply"]
            assert stranger.startswith("Unknown") or "552" in stranger, stranger
        mine = await first.ask("look")
        assert made["circuit"] in mine["circuits"] and other["circuit"] not in mine["circuits"]
        assert mine["services"] == [made["service"]]
        await first.end()
        await second.end()


async def test_a_dead_functions_circuits_and_services_are_gone_from_tor(network):
    async with host(network.client_control) as box:
        control, _ = box.function()
        path = path_of(network, "relay0", "relay2", "exit")
        program = await Program.start("keep_alive.py", control=control, path=path, service=True)
        made = await program.result()
        assert made["circuit"] in await circuit_numbers(network)
        assert made["service"] in await tor_sees(network, "circuit-status")

        await program.end()

        async def gone() -> bool:
            status = await tor_sees(network, "circuit-status")
            numbers = {line.split()[0] for line in status.splitlines()}
            return made["circuit"] not in numbers and made["service"] not in status

        await until(gone)


async def test_a_cancelled_function_leaves_nothing_in_tor(network):
    async with host(network.client_control) as box:
        control, _ = box.function()
        path = path_of(network, "relay2", "relay1", "exit")
        program = await Program.start("keep_alive.py", control=control, path=path, service=False)
        made = await program.result()
    assert made["circuit"] not in await circuit_numbers(network)
    await program.end()


async def test_a_function_fetches_and_publishes_the_descriptor_of_an_address_it_proved(network):
    async with host(network.client_control) as box:
        control, _ = box.function()
        reader, writer = await asyncio.open_unix_connection(control)

        async def say(text: str) -> None:
            writer.write(text.replace("\n", "\r\n").encode() + b"\r\n")

        async def hear(start: str) -> str:
            async with asyncio.timeout(120):
                while True:
                    line = (await reader.readline()).decode().rstrip("\r\n")
                    if line.startswith(start):
                        return line

        await say("AUTHENTICATE\nSETEVENTS HS_DESC HS_DESC_CONTENT\nADD_ONION NEW:BEST Port=80")
        onion = (await hear("250-ServiceID=")).removeprefix("250-ServiceID=")
        await hear(f"650 HS_DESC UPLOADED {onion}")
        await say(f"HSFETCH {onion}")
        await hear(f"650+HS_DESC_CONTENT {onion}")
        descriptor = []
        while (line := (await hear("")).removeprefix(".")) or not descriptor:
            descriptor.append(line)
        await hear("650 OK")
        await say(f"+HSPOST HSADDRESS={onion}\n" + "\n".join(descriptor) + "\n.")
        assert await hear("2") == "250 OK"
        # The directories take one revision once: their no shows that the whole of it reached them.
        assert "REASON=UPLOAD_REJECTED" in await hear(f"650 HS_DESC FAILED {onion}")
        await say("GETINFO version")  # still in step
        await hear("250-version=")
        writer.close()


async def test_tor_never_puts_anothers_stream_on_a_functions_circuit(network):
    async with host(network.client_control) as box, echo(host=WEB, port=0) as web_port:
        control, settings = box.function(Grants.parse(["circuits=16", "streams", "events"]))
        path = path_of(network, "relay0", "relay1", "exit")
        program = await Program.start("keep_alive.py", control=control, path=path, service=False)
        made = await program.result()
        status = await tor_sees(network, "circuit-status")
        [line] = [line for line in status.splitlines() if line.startswith(made["circuit"] + " ")]
        assert "PURPOSE=CONTROLLER" in line
        # Nobody holds this stream: the keeper gives it to tor, which uses a circuit of its own.
        reader, writer = await open_socks(network.client_socks, WEB, web_port, "somebody")
        writer.write(b"hello\n")
        assert await reader.readline() == b"echo hello\n"
        [stream] = (await tor_sees(network, "stream-status")).splitlines()
        assert stream.split()[2] != made["circuit"]
        view = await program.ask("look")
        assert view["streams"] == []
        assert not any("STREAM" in event for event in view["events"])
        writer.close()
        await program.end()


async def test_streams_flow_as_before_once_the_firewall_is_gone(network):
    async with echo(host=WEB, port=0) as web_port:
        reader, writer = await open_socks(network.client_socks, WEB, web_port, "anybody")
        writer.write(b"hello\n")
        assert await reader.readline() == b"echo hello\n"
        writer.close()


async def test_a_stream_that_every_exit_refuses_ends_instead_of_waiting_for_ever(network):
    async with host(network.client_control):
        with pytest.raises(ConnectionError):
            await open_socks(network.client_socks, WEB, REFUSED_PORT, "anybody")


async def test_a_function_sees_the_names_it_gave_its_own_streams_and_no_others(network):
    async with host(network.client_control) as box, echo(host=WEB, port=0) as web_port:
        control, settings = box.function()
        path = path_of(network, "relay0", "relay1", "exit")
        program = await Program.start("keep_alive.py", control=control, path=path, service=False)
        await program.result()
        key = settings.isolation_key
        _, own = await open_socks(network.client_socks, WEB, web_port, tor_username(key, "alice"))
        _, other = await open_socks(network.client_socks, WEB, web_port, "alice")
        view = await program.ask("look")
        assert len(view["streams"]) == 1
        assert any('SOCKS_USERNAME="alice"' in event for event in view["events"])
        assert not any(key in event or "SOURCE_ADDR" in event for event in view["events"])
        own.close()
        other.close()
        await program.end()


async def test_tor_accepts_no_host_name_that_could_pass_for_a_field_of_an_event(network):
    """The event reader takes KEY=value anywhere; tor lets no such name into a STREAM event."""
    async with host(network.client_control):
        for name in ("SOCKS_USERNAME=x", 'a"b', "a b"):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await open_socks(network.client_socks, name, 80, "anybody")
