"""Plain network code inside a function: it works within the policy, and nowhere else."""

import textwrap

import pytest
from tests.e2e.web import web_site

from bento.box.beside import RelayFacts
from bento.tor.exit_policy import ExitPolicy

CODE = {
    "socket": """
        import socket
        from urllib.parse import urlsplit
        def main(api, url):
            at = urlsplit(url)
            with socket.create_connection((at.hostname, at.port)) as s:
                s.sendall(f"GET {at.path} HTTP/1.0\\r\\n\\r\\n".encode())
                while data := s.recv(4096): api.send(data)
        """,
    "urllib": """
        import urllib.request
        def main(api, url): api.send(urllib.request.urlopen(url).read())
        """,
    "http.client": """
        import http.client
        from urllib.parse import urlsplit
        def main(api, url):
            at = urlsplit(url)
            c = http.client.HTTPConnection(at.hostname, at.port)
            c.request("GET", at.path)
            api.send(c.getresponse().read())
        """,
    "requests": """
        import requests
        def main(api, url): api.send(requests.get(url).content)
        """,
    "httpx": """
        import httpx
        def main(api, url): api.send(httpx.get(url).content)
        """,
    "httpx-async": """
        import httpx
        async def main(api, url):
            async with httpx.AsyncClient() as client:
                await api.send((await client.get(url)).content)
        """,
    "asyncio": """
        import asyncio
        from urllib.parse import urlsplit
        async def main(api, url):
            at = urlsplit(url)
            reader, writer = await asyncio.open_connection(at.hostname, at.port)
            writer.write(f"GET {at.path} HTTP/1.0\\r\\n\\r\\n".encode())
            await api.send(await reader.read())
        """,
}

ASK = """
import socket
def main(api, host, port):
    try:
        with socket.create_connection((host, int(port)), 20): api.send("connected")
    except OSError as error: api.send(f"{type(error).__name__}: {error}")
"""


def function(code: str, egress: str = '"*:*"') -> bytes:
    # httpx with its TLS needs more than the default 64 MiB.
    head = f'# /// bento\n# memory = "256 MiB"\n# egress = [{egress}]\n# ///\n'
    return (head + textwrap.dedent(code)).encode()


async def call(local, source, *args):
    instance, session = await local.box.run(source, *args)
    await session.close_input()
    try:
        return await session.read()
    finally:
        await instance.shutdown()


@pytest.mark.parametrize("library", CODE)
async def test_ordinary_code_reaches_the_web(local, library):
    with web_site({"/page": b"the page"}) as (site, _):
        answer = await call(local, function(CODE[library]), f"{site}/page")
    assert answer.endswith(b"the page")


async def test_a_destination_that_the_manifest_does_not_name_is_refused_with_the_reason(local):
    with web_site({}) as (site, visits):
        host, port = site.removeprefix("http://").split(":")
        said = await call(local, function(ASK, '"*:1"'), host, port)
    assert said.startswith(b"PermissionError")
    assert b"manifest" in said
    assert visits == []


async def test_a_function_without_egress_has_no_network(local):
    with web_site({}) as (site, visits):
        host, port = site.removeprefix("http://").split(":")
        said = await call(local, ASK.encode(), host, port)
    assert said.startswith(b"PermissionError")
    assert visits == []


@pytest.mark.parametrize(
    "host",
    [
        "127.1.2.3",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "192.0.2.77",
        "fe80::1",
        "::ffff:10.0.0.1",
    ],
)
async def test_internal_addresses_are_refused_before_anything_is_sent(local, host):
    said = await call(local, function(ASK), host, "80")
    assert said.startswith(b"PermissionError")
    assert b"refused" in said


async def test_a_new_exit_policy_reaches_running_instances(local):
    instance = await local.box.install(function(ASK))
    with web_site({}) as (site, _):
        host, port = site.removeprefix("http://").split(":")

        async def ask():
            session = await instance.invoke(host, port)
            await session.close_input()
            return await session.read()

        assert await ask() == b"connected"
        local.guard.update(RelayFacts(ExitPolicy.parse("reject *:*\nreject6 *:*"), frozenset()))
        assert (await ask()).startswith(b"PermissionError")
