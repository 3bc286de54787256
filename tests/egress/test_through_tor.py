"""Egress of a box that is no exit: through a real tor, or nowhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.egress.clients import client_of
from tests.egress.sandboxed import WEB_HOST, server, web_policy

from bento.egress import EgressLimits, EgressProxy, TorRoute
from bento.egress.socks_server import Reply
from bento.testnet import Testnet

pytestmark = pytest.mark.network


async def through(network: Testnet, *rules: str) -> EgressProxy:
    socks = (await network.status()).socks
    policy = replace(web_policy(*rules), exit_policy=None)
    return EgressProxy(policy, EgressLimits(), TorRoute(socks, lambda user: "a-function" + user))


async def test_a_function_reaches_the_web_through_tor(network: Testnet) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readexactly(5))

    async with (
        server(page) as port,
        client_of(await through(network, f"{WEB_HOST}:{port}")) as client,
    ):
        answer = await client.ask(WEB_HOST, port, early=b"hello")
        assert answer.code == Reply.SUCCEEDED, answer.reason
        assert await answer.reader.read() == b"heard hello"
        answer.writer.close()


async def test_what_the_exit_cannot_do_is_an_ordinary_failure(network: Testnet) -> None:
    async with server(_ignore) as port:
        pass
    async with client_of(await through(network, "*:*")) as client:
        code, reason = await client.refused(WEB_HOST, port)
        assert code in (Reply.CONNECTION_REFUSED, Reply.FAILURE), reason


async def test_the_manifest_counts_before_tor_is_asked(network: Testnet) -> None:
    async with client_of(await through(network, "other.test:80")) as client:
        code, reason = await client.refused("web.test", 80)
        assert code == Reply.NOT_ALLOWED
        assert '"web.test:80"' in reason


async def _ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
