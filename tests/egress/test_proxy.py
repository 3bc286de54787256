"""The proxy as a function meets it, over real sockets: verdicts, quotas, deadlines, reload, close."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import time
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from tests.egress.clients import Client, client_of
from tests.egress.sandboxed import WEB_HOST, server, web_page, web_policy

from bento.egress import (
    DestinationLimits,
    Destinations,
    DirectRoute,
    EgressLimits,
    EgressPolicy,
    EgressProxy,
    IPAddress,
    NoRoute,
    TableResolver,
)
from bento.egress.limits import MAX_ANSWERS
from bento.egress.routes import Gate
from bento.egress.socks_server import Reply, Request

WEB_IP = ip_address(WEB_HOST)
HERE = ip_address("127.0.0.1")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


class Names:
    """A resolver whose answers change from one look-up to the next."""

    def __init__(self, *answers: list[IPAddress]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[IPAddress]:
        self.asked.append(name)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def make(
    policy: EgressPolicy | None = None,
    resolver: object = None,
    limits: EgressLimits | None = None,
    **more: object,
) -> EgressProxy:
    route = DirectRoute(resolver or TableResolver({"web.test": [WEB_IP]}))  # type: ignore[arg-type]
    return EgressProxy(policy or web_policy("*:*"), limits or EgressLimits(), route, **more)  # type: ignore[arg-type]


async def exchange(client: Client, host: str, port: int, data: bytes = b"ping") -> bytes:
    answer = await client.ask(host, port)
    assert answer.code == Reply.SUCCEEDED, answer.reason
    answer.writer.write(data)
    answer.writer.write_eof()
    got = await answer.reader.read()
    answer.writer.close()
    return got


# --- verdicts ---


async def test_an_allowed_connection_carries_bytes_both_ways_and_is_counted() -> None:
    egress = make()
    async with server(echo) as port, client_of(egress) as client:
        assert await exchange(client, WEB_HOST, port) == b"ping"
        assert await exchange(client, "web.test", port) == b"ping"
        while egress.counters.open:
            await asyncio.sleep(0.001)
        assert egress.counters.connections == 2
        assert egress.counters.bytes_out == 8 + len("web.test")
        assert egress.counters.bytes_in == 8
        assert egress.counters.refused == egress.counters.failed == 0


async def test_data_sent_ahead_of_the_reply_is_delivered() -> None:
    async with server(echo) as port, client_of(make()) as client:
        answer = await client.ask(WEB_HOST, port, early=b"early ")
        answer.writer.write(b"late")
        answer.writer.write_eof()
        assert await answer.reader.read() == b"early late"
        answer.writer.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0"]
)
async def test_services_of_the_host_are_out_of_reach(host: str) -> None:
    egress = make()
    async with server(echo, host="127.0.0.1") as port, client_of(egress) as client:
        code, reason = await client.refused(host, port)
        assert code == Reply.NOT_ALLOWED
        assert "which nothing opens" in reason
        assert egress.counters.refused == 1
        assert egress.counters.connections == 0


async def test_the_boxs_own_addresses_are_out_of_reach() -> None:
    policy = replace(web_policy("*:*"), own_addresses=frozenset((WEB_IP,)))
    async with server(echo) as port, client_of(make(policy)) as client:
        code, reason = await client.refused(WEB_HOST, port)
        assert code == Reply.NOT_ALLOWED
        assert "the box itself" in reason


async def test_a_destination_outside_the_manifest_is_refused_with_the_entry_to_add() -> None:
    async with server(echo) as port, client_of(make(web_policy("*:1"))) as client:
        code, reason = await client.refused(WEB_HOST, port)
        assert code == Reply.NOT_ALLOWED
        assert f'"{WEB_HOST}:{port}"' in reason


async def test_a_name_outside_the_manifest_never_reaches_a_name_server() -> None:
    names = Names([WEB_IP])
    async with client_of(make(web_policy("other.test:*"), names)) as client:
        code, reason = await client.refused("secret.evil.test", 53)
        assert code == Reply.NOT_ALLOWED
        assert "secret.evil.test:53" in reason
        assert names.asked == []


async def test_rebinding_a_name_to_the_host_gains_nothing() -> None:
    """The answer that was judged is the one connected to: one look-up, no second chance."""
    names = Names([WEB_IP], [HERE])
    async with (
        server(echo) as port,
        server(echo, host="127.0.0.1"),
        client_of(make(resolver=names)) as client,
    ):
        assert await exchange(client, "rebind.test", port) == b"ping"
        assert names.asked == ["rebind.test"]
        code, reason = await client.refused("rebind.test", port)
        assert code == Reply.NOT_ALLOWED
        assert "a loopback address" in reason


async def test_of_several_answers_only_allowed_ones_are_tried() -> None:
    names = Names([HERE, ip_address("::1"), WEB_IP])
    async with server(echo) as port, client_of(make(resolver=names)) as client:
        assert await exchange(client, "mixed.test", port) == b"ping"


async def test_a_dead_address_gives_way_to_the_next_and_keeps_no_place() -> None:
    names = Names([ip_address("127.80.255.254"), WEB_IP])
    box = Destinations(DestinationLimits())
    async with server(echo) as port, client_of(make(resolver=names, box=box)) as client:
        answer = await client.ask("two.test", port)
        assert {key: place.open for key, place in box._places.items()} == {
            "127.80.255.254": 0,
            WEB_HOST: 1,
        }
        answer.writer.close()


async def test_only_so_many_answers_are_tried() -> None:
    names = Names([HERE] * MAX_ANSWERS + [WEB_IP])
    async with server(echo) as port, client_of(make(resolver=names)) as client:
        assert (await client.refused("many.test", port))[0] == Reply.NOT_ALLOWED


async def test_ipv6_is_connected_to_as_well() -> None:
    six = ip_address("::1")
    policy = replace(web_policy("[::1]:*"), exceptions=(ip_network("::1/128"),))
    async with (
        server(echo, host="::1") as port,
        client_of(make(policy, TableResolver({"six.test": [six]}))) as client,
    ):
        assert await exchange(client, "::1", port) == b"ping"
        assert await exchange(client, "six.test", port) == b"ping"


async def test_an_address_that_swallows_connections_leaves_time_for_the_next() -> None:
    names = Names([ip_address("127.80.7.3"), WEB_IP])
    async with server(echo) as port:
        # A listener whose queue is full drops what comes after, as a dead host would.
        with socket.create_server(("127.80.7.3", port), backlog=0) as hole:
            callers = [socket.socket() for _ in range(4)]
            for caller in callers:
                caller.setblocking(False)
                caller.connect_ex(hole.getsockname())
            limits = EgressLimits(address_seconds=0.3)
            async with client_of(make(resolver=names, limits=limits)) as client:
                assert await exchange(client, "two.test", port) == b"ping"
            for caller in callers:
                caller.close()


async def test_onion_services_need_a_box_whose_egress_is_tor() -> None:
    names = Names([WEB_IP])
    async with client_of(make(resolver=names)) as client:
        code, reason = await client.refused("a" * 56 + ".onion", 80)
        assert (code, reason) == (
            Reply.NOT_ALLOWED,
            "onion services need a box whose egress is Tor",
        )
        assert names.asked == []


async def test_bind_and_udp_are_refused_in_words() -> None:
    async with client_of(make()) as client:
        for command in (2, 3):
            reader, writer = await client.raw()
            writer.write(b"\x05\x01\x00" + bytes((5, command, 0, 1)) + bytes(6))
            answer = await reader.read()
            assert answer[:4] == bytes((5, 0, 5, Reply.COMMAND_NOT_SUPPORTED))
            assert b"TCP connections only" in answer
            writer.close()


# --- failures that are nobody's refusal ---


async def test_a_port_where_nobody_listens_is_connection_refused() -> None:
    egress = make()
    async with server(echo) as port:
        pass
    async with client_of(egress) as client:
        code, reason = await client.refused(WEB_HOST, port)
        assert code == Reply.CONNECTION_REFUSED
        assert egress.counters.failed == 1
        assert egress.counters.refused == 0


async def test_a_name_that_does_not_resolve_is_told_apart() -> None:
    async with client_of(make()) as client:
        code, reason = await client.refused("nowhere.test", 80)
        assert (code, reason) == (Reply.HOST_UNREACHABLE, "the name does not resolve")


async def test_a_resolver_without_answers_is_told_apart() -> None:
    async with client_of(make(resolver=Names([]))) as client:
        code, reason = await client.refused("empty.test", 80)
        assert (code, reason) == (Reply.HOST_UNREACHABLE, "the name has no address")


class Hanging:
    """A resolver and a route that never come back, and count who waits."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0

    async def hang(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    async def __call__(self, name: str) -> list[IPAddress]:
        await self.hang()
        raise AssertionError

    async def open(self, request: Request, gate: Gate) -> socket.socket:
        await self.hang()
        raise AssertionError


async def test_a_silent_name_server_is_given_up_and_keeps_only_its_own_places() -> None:
    hanging = Hanging()
    limits = EgressLimits(lookups=2, lookup_seconds=0.2, connect_seconds=0.5)
    async with client_of(make(resolver=hanging, limits=limits)) as client:
        answers = await asyncio.gather(*(client.refused(f"n{n}.test", 80) for n in range(6)))
        codes = sorted(code for code, _ in answers)
        assert codes == [Reply.HOST_UNREACHABLE] * 2 + [Reply.TIMED_OUT] * 4
        assert hanging.most == 2
    assert hanging.waiting == 0


async def test_a_look_up_gives_its_place_back() -> None:
    limits = EgressLimits(lookups=1)
    async with server(echo) as port, client_of(make(limits=limits)) as client:
        for _ in range(3):
            assert await exchange(client, "web.test", port) == b"ping"
            assert (await client.refused("nowhere.test", 80))[0] == Reply.HOST_UNREACHABLE


async def test_a_destination_that_does_not_answer_times_out() -> None:
    hanging = Hanging()
    egress = EgressProxy(web_policy("*:*"), EgressLimits(connect_seconds=0.2), hanging)
    async with client_of(egress) as client:
        code, reason = await client.refused(WEB_HOST, 80)
        assert (code, reason) == (Reply.TIMED_OUT, "the destination does not answer")
    assert hanging.waiting == 0


# --- quotas ---


async def test_connections_at_once_are_limited_and_come_back() -> None:
    limits = EgressLimits(connections=2)
    egress = make(limits=limits)
    async with server(echo) as port, client_of(egress) as client:
        first = await client.ask(WEB_HOST, port)
        second = await client.ask(WEB_HOST, port)
        code, reason = await client.refused(WEB_HOST, port)
        assert code == Reply.NOT_ALLOWED
        assert reason == "2 connections are open, the most a function may have"
        first.writer.close()
        while egress.counters.open > 1:
            await asyncio.sleep(0.001)
        assert await exchange(client, WEB_HOST, port) == b"ping"
        second.writer.close()


async def test_new_connections_are_paced_not_refused() -> None:
    limits = EgressLimits(connections_per_second=20, burst_connections=5)
    egress = make(limits=limits)
    async with server(echo) as port, client_of(egress) as client:
        began = time.monotonic()
        answers = await asyncio.gather(*(exchange(client, WEB_HOST, port) for _ in range(25)))
        took = time.monotonic() - began
    assert answers == [b"ping"] * 25
    assert took >= (25 - 5 - 1) / 20
    assert egress.counters.connections == 25


async def test_a_flood_of_connects_waits_in_its_own_queue() -> None:
    """The box takes no more of them than the limit, and spends no task on the others."""
    limits = EgressLimits(connections_per_second=5, burst_connections=10, handshakes=4)
    egress = make(limits=limits)
    async with client_of(egress) as client:
        flood = []
        for _ in range(300):
            sock = socket.socket()
            sock.setblocking(False)
            assert sock.connect_ex(("127.0.0.1", client.proxy_port)) in (0, errno.EINPROGRESS)
            flood.append(sock)
        while len(egress._handshakes) < 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.3)
        assert len(egress._handshakes) == 4
        for sock in flood:
            sock.close()


async def test_one_destination_gets_only_so_many_connections() -> None:
    limits = EgressLimits(destination=DestinationLimits(connections=2))
    async with (
        server(echo) as port,
        server(echo, host="127.80.7.2") as other_port,
        client_of(make(limits=limits)) as client,
    ):
        held = [await client.ask(WEB_HOST, port) for _ in range(2)]
        code, reason = await client.refused("web.test", port)
        assert code == Reply.NOT_ALLOWED
        assert reason == f"{WEB_HOST} already has 2 open connections, the most allowed to one place"
        assert await exchange(client, "127.80.7.2", other_port) == b"ping"
        for answer in held:
            answer.writer.close()


async def test_all_functions_of_a_box_together_are_limited_too() -> None:
    box = Destinations(DestinationLimits(connections=3))
    async with (
        server(echo) as port,
        client_of(make(box=box)) as one,
        client_of(make(box=box)) as other,
    ):
        held = [await one.ask(WEB_HOST, port), await one.ask(WEB_HOST, port)]
        held.append(await other.ask(WEB_HOST, port))
        assert (await other.refused(WEB_HOST, port))[0] == Reply.NOT_ALLOWED
        held[0].writer.close()
        while (await other.refused(WEB_HOST, port))[0] != Reply.SUCCEEDED:
            await asyncio.sleep(0.001)
        for answer in held:
            answer.writer.close()


async def test_a_refused_or_failed_connection_gives_its_place_back() -> None:
    box = Destinations(DestinationLimits(connections=1, burst_connections=100))
    egress = make(limits=EgressLimits(connections=1), box=box)
    async with server(echo) as port, client_of(egress) as client:
        for _ in range(5):
            assert (await client.refused(WEB_HOST, 1))[0] == Reply.CONNECTION_REFUSED
            assert (await client.refused("127.0.0.1", port))[0] == Reply.NOT_ALLOWED
        assert await exchange(client, WEB_HOST, port) == b"ping"


async def test_new_connections_to_one_destination_wait_their_turn() -> None:
    place = DestinationLimits(connections_per_second=2, burst_connections=2, wait_seconds=0.6)
    egress = make(limits=EgressLimits(destination=place))
    async with server(echo) as port, client_of(egress) as client:
        began = time.monotonic()
        answers = await asyncio.gather(*(client.ask(WEB_HOST, port) for _ in range(8)))
        took = time.monotonic() - began
        refused = [answer for answer in answers if answer.code]
        assert all("2 per second" in answer.reason for answer in refused)
        assert refused
        assert len(answers) - len(refused) >= 3
        assert took >= 0.4
        for answer in answers:
            answer.writer.close()


async def test_the_total_of_bytes_is_exact_and_final() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    limit = 3_000_000
    egress = make(limits=EgressLimits(total_bytes=limit))
    async with server(endless) as port, client_of(egress) as client:
        answer = await client.ask(WEB_HOST, port)
        got = 0
        with pytest.raises(ConnectionResetError):
            while data := await answer.reader.read(1 << 16):
                got += len(data)
        assert got <= limit
        assert egress.counters.bytes_in == limit
        code, reason = await client.refused(WEB_HOST, port)
        assert code == Reply.NOT_ALLOWED
        assert "has used up its 3000000 bytes" in reason
        answer.writer.close()


async def test_many_short_connections_share_one_total() -> None:
    egress = make(limits=EgressLimits(total_bytes=1050))
    async with server(echo) as port, client_of(egress) as client:
        for _ in range(5):
            assert len(await exchange(client, WEB_HOST, port, bytes(100))) == 100
        with pytest.raises(ConnectionResetError):
            await exchange(client, WEB_HOST, port, bytes(100))
        code, reason = await client.refused(WEB_HOST, port)
        assert code == Reply.NOT_ALLOWED
        assert "used up" in reason


async def test_bytes_per_second_are_kept() -> None:
    egress = make(limits=EgressLimits(bytes_per_second=2_000_000, burst_bytes=500_000))
    async with server(echo) as port, client_of(egress) as client:
        began = time.monotonic()
        halves = await asyncio.gather(
            exchange(client, WEB_HOST, port, bytes(500_000)),
            exchange(client, WEB_HOST, port, bytes(500_000)),
        )
        took = time.monotonic() - began
    assert [len(half) for half in halves] == [500_000] * 2
    assert took >= (2_000_000 - 500_000) / 2_000_000 * 0.95


# --- slow clients ---


async def test_a_client_that_says_nothing_is_turned_away() -> None:
    egress = make(limits=EgressLimits(handshake_seconds=0.2))
    async with client_of(egress) as client:
        reader, writer = await client.raw()
        writer.write(b"\x05")
        assert await reader.read() == b""
        assert egress.counters.refused == 1
        writer.close()


async def test_dribbling_does_not_stretch_the_deadline() -> None:
    egress = make(limits=EgressLimits(handshake_seconds=0.5))
    async with client_of(egress) as client:
        reader, writer = await client.raw()
        began = time.monotonic()

        async def dribble() -> None:
            for byte in b"\x05\xff" + bytes(255):
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(dribble())
        try:
            await reader.read()
        except ConnectionResetError:
            pass
        assert time.monotonic() - began < 257 * 0.05
        task.cancel()
        writer.close()


async def test_slow_loris_waits_for_itself_and_honest_connections_follow() -> None:
    limits = EgressLimits(handshakes=3, handshake_seconds=1)
    egress = make(limits=limits)
    async with server(echo) as port, client_of(egress) as client:
        loris = [await client.raw() for _ in range(9)]
        while len(egress._handshakes) < 3:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert len(egress._handshakes) == 3
        assert await exchange(client, WEB_HOST, port) == b"ping"
        for _, writer in loris:
            writer.close()


async def test_an_idle_connection_is_ended() -> None:
    egress = make(limits=EgressLimits(idle_seconds=0.2))
    async with server(echo) as port, client_of(egress) as client:
        answer = await client.ask(WEB_HOST, port)
        with pytest.raises(ConnectionResetError):
            await answer.reader.read()
        assert egress.counters.open == 0
        answer.writer.close()


# --- reload ---


async def test_reload_ends_what_the_new_policy_refuses_and_nothing_else() -> None:
    egress = make()
    async with (
        server(echo) as port,
        server(echo, host="127.80.7.2") as other_port,
        client_of(egress) as client,
    ):
        stays = await client.ask(WEB_HOST, port)
        goes = await client.ask("127.80.7.2", other_port)
        egress.reload(web_policy(f"{WEB_HOST}:*"))
        with pytest.raises(ConnectionResetError):
            await goes.reader.read()
        stays.writer.write(b"still here")
        assert await stays.reader.readexactly(10) == b"still here"
        assert (await client.refused("127.80.7.2", other_port))[0] == Reply.NOT_ALLOWED
        egress.reload(web_policy("*:*"))
        assert await exchange(client, "127.80.7.2", other_port) == b"ping"
        stays.writer.close()
        goes.writer.close()


async def test_reload_counts_for_connections_being_made() -> None:
    ready, go = asyncio.Event(), asyncio.Event()

    class Slow(DirectRoute):
        async def open(self, request: Request, gate: Gate) -> socket.socket:
            sock = await super().open(request, gate)
            ready.set()
            await go.wait()
            return sock

    egress = EgressProxy(web_policy("*:*"), EgressLimits(), Slow(TableResolver({})))
    async with server(echo) as port, client_of(egress) as client:
        asking = asyncio.create_task(client.refused(WEB_HOST, port))
        await ready.wait()
        egress.reload(web_policy())
        go.set()
        code, reason = await asking
        assert code == Reply.NOT_ALLOWED
        assert "manifest" in reason


async def test_a_reloaded_route_counts_for_new_connections() -> None:
    egress = make()
    async with server(echo) as port, client_of(egress) as client:
        held = await client.ask(WEB_HOST, port)
        egress.reload(egress.policy, NoRoute())
        code, reason = await client.refused(WEB_HOST, port)
        assert (code, reason) == (Reply.NOT_ALLOWED, "this box gives functions no network")
        held.writer.write(b"still here")
        assert await held.reader.readexactly(10) == b"still here"
        held.writer.close()


# --- life and death ---


async def test_close_leaves_no_task_no_socket_no_place() -> None:
    gc.collect()
    before, box = asyncio.all_tasks(), Destinations(DestinationLimits())
    hanging = Hanging()
    names = TableResolver({"web.test": [WEB_IP]}, hanging)
    egress = make(resolver=names, box=box)
    async with server(web_page) as port:
        async with client_of(egress) as client:
            relayed = await client.ask("web.test", port)
            silent = await client.raw()
            asking = asyncio.create_task(client.ask("hang.test", port))
            while not hanging.waiting or len(egress._handshakes) < 2:
                await asyncio.sleep(0.001)
        assert egress.counters.open == 0
        assert not egress._connections
        assert not egress._handshakes
        assert not egress._resolving
        assert hanging.waiting == 0
        assert all(place.open == 0 for place in box._places.values())
        for reader in (relayed.reader, silent[0]):
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asking
        with pytest.raises(ConnectionRefusedError):
            await client.raw()
        relayed.writer.close()
        silent[1].close()
    await asyncio.sleep(0.01)
    assert {task for task in asyncio.all_tasks() if not task.done()} <= before


async def test_a_second_listener_is_served_like_the_first() -> None:
    """A box that was restarted is given the listener again."""
    egress = make()
    async with server(echo) as port, client_of(egress) as client:
        listener = socket.create_server(("127.0.0.1", 0))
        other = Client(listener.getsockname()[1])
        await egress.serve(listener)
        assert await exchange(client, WEB_HOST, port) == b"ping"
        assert await exchange(other, WEB_HOST, port) == b"ping"


async def test_a_listener_that_comes_too_late_is_closed() -> None:
    egress = make()
    await egress.close()
    listener = socket.create_server(("127.0.0.1", 0))
    await egress.serve(listener)
    assert listener.fileno() == -1


class Failing(socket.socket):
    """A listener whose accept fails a few times first."""

    errors: list[int] = []

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            raise OSError(self.errors.pop(0), "made up")
        return super().accept()


async def test_a_shortage_of_the_host_is_waited_out() -> None:
    egress = make()
    listener = Failing()
    listener.errors = [errno.EMFILE, errno.ECONNABORTED, errno.ENOBUFS]
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    async with server(echo) as port, client_of(egress):
        await egress.serve(listener)
        client = Client(listener.getsockname()[1])
        assert await exchange(client, WEB_HOST, port) == b"ping"


async def test_a_listener_that_died_does_not_spin() -> None:
    egress = make()
    listener = Failing()
    listener.errors = [errno.EINVAL]
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    async with server(echo) as port, client_of(egress) as other:
        await egress.serve(listener)
        client = Client(listener.getsockname()[1])
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.ask(WEB_HOST, port)
        assert listener.fileno() == -1
        assert await exchange(other, WEB_HOST, port) == b"ping"
