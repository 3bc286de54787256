"""The whole way in a real box: a function in its jail, the box's proxy, the web, and nothing else.

The hostile half asks past Python's patches, with `_socket`: the namespace has to hold by itself."""

from __future__ import annotations

import asyncio
import json
import socket
import textwrap
from collections.abc import AsyncIterator

import pytest
from tests.egress.sandboxed import WEB_HOST, server, web_page
from tests.local_box import LocalBox, local_box

USER = """
    def main(api, url: str, host: str, port: int):
        import asyncio, http.client, httpx, requests, socket, urllib.request
        pages = {}
        pages["urllib"] = urllib.request.urlopen(url).read().decode()
        connection = http.client.HTTPConnection(host, port)
        connection.request("GET", "/")
        pages["http.client"] = connection.getresponse().read().decode()
        pages["requests"] = requests.get(url).text
        pages["httpx"] = httpx.get(url).text

        async def later():
            async with httpx.AsyncClient() as client:
                pages["httpx async"] = (await client.get(url)).text
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET / HTTP/1.0\\r\\nHost: {host}:1\\r\\n\\r\\n".encode())
            pages["asyncio"] = (await reader.read()).decode().rpartition("\\n")[2]
            writer.close()

        asyncio.run(later())
        import json
        return json.dumps(pages).encode()
"""

HOSTILE = """
    def main(api, port: int, abstract: str):
        import _socket, errno, json
        said = {}

        def attempt(what, act):
            try:
                said[what] = repr(act())
            except OSError as error:
                said[what] = errno.errorcode.get(error.errno, repr(error))

        def connect(address, family=_socket.AF_INET, kind=_socket.SOCK_STREAM):
            sock = _socket.socket(family, kind)
            sock.settimeout(20)
            sock.connect(address)
            if kind == _socket.SOCK_DGRAM:
                sock.send(b"x")
            return "connected"

        def ask(request):
            sock = _socket.socket()
            sock.settimeout(20)
            sock.connect(("127.0.0.1", 1080))
            sock.send(b"\\5\\1\\0" + request)
            answer = b""
            while more := sock.recv(1000):
                answer += more
            return answer[3]

        tail = port.to_bytes(2, "big")
        web = _socket.inet_aton("127.80.7.1")
        attempt("host's loopback", lambda: connect(("127.0.0.1", port)))
        attempt("the web, directly", lambda: connect(("127.80.7.1", port)))
        attempt("the internet", lambda: connect(("8.8.8.8", 53)))
        attempt("ipv6 internet", lambda: connect(("2606:4700::1111", 53), _socket.AF_INET6))
        attempt("udp", lambda: connect(("8.8.8.8", 53), kind=_socket.SOCK_DGRAM))
        attempt("abstract unix", lambda: connect("\\0" + abstract, _socket.AF_UNIX))
        for family in (16, 17, 38, 40):
            attempt(f"family {family}", lambda: _socket.socket(family, _socket.SOCK_DGRAM))
        attempt("raw", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_RAW, 1))
        attempt("bind through the proxy", lambda: ask(b"\\5\\2\\0\\1" + web + tail))
        attempt("udp through the proxy", lambda: ask(b"\\5\\3\\0\\1" + web + tail))
        attempt("loopback through the proxy", lambda: ask(b"\\5\\1\\0\\1\\x7f\\0\\0\\1" + tail))
        attempt("mapped", lambda: ask(b"\\5\\1\\0\\4" + bytes(10) + b"\\xff\\xff\\x7f\\0\\0\\1" + tail))
        attempt("unspecified", lambda: ask(b"\\5\\1\\0\\1\\0\\0\\0\\0" + tail))
        attempt("metadata", lambda: ask(b"\\5\\1\\0\\1\\xa9\\xfe\\xa9\\xfe\\0\\x50"))
        attempt("the entrance", lambda: ask(b"\\5\\1\\0\\1\\xc0\\0\\2\\x4d\\x13\\x88"))
        attempt("another port", lambda: ask(b"\\5\\1\\0\\1" + web + b"\\0\\x19"))
        return json.dumps(said).encode()
"""


def source(body: str, *egress: str) -> bytes:
    manifest = f"# /// bento\n# egress = {json.dumps(egress)}\n# ///\n"
    return (manifest + textwrap.dedent(body)).encode()


async def answer(local: LocalBox, code: bytes, **arguments: object) -> dict[str, str]:
    instance, session = await local.box.run(code, **arguments)
    await session.close_input()
    read = json.loads(await session.read())
    await instance.shutdown()
    return read


@pytest.fixture
async def local() -> AsyncIterator[LocalBox]:
    async with local_box() as opened:
        yield opened


async def test_every_ordinary_way_reaches_the_web_from_a_box(local: LocalBox) -> None:
    async with server(web_page) as port:
        url = f"http://{WEB_HOST}:{port}/"
        pages = await answer(
            local, source(USER, f"{WEB_HOST}:{port}"), url=url, host=WEB_HOST, port=port
        )
    ways = ("urllib", "http.client", "requests", "httpx", "httpx async", "asyncio")
    assert pages == dict.fromkeys(ways, f"page of {WEB_HOST}")


async def test_nothing_else_is_in_reach_of_a_hostile_function(local: LocalBox) -> None:
    reached: list[object] = []

    async def alarm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname"))

    with socket.socket(socket.AF_UNIX) as hidden:
        name = f"bento-egress-{id(hidden)}"
        hidden.bind("\0" + name)
        hidden.listen()
        async with server(alarm, host="127.0.0.1") as port:
            said = await answer(
                local, source(HOSTILE, f"{WEB_HOST}:{port}"), port=port, abstract=name
            )
    assert reached == []
    refused = "2"
    assert said == {
        "host's loopback": "ECONNREFUSED",
        "the web, directly": "ECONNREFUSED",
        "the internet": "ENETUNREACH",
        "ipv6 internet": "ENETUNREACH",
        "udp": "ENETUNREACH",
        "abstract unix": "ECONNREFUSED",
        "family 16": said["family 16"],
        "family 17": said["family 17"],
        "family 38": said["family 38"],
        "family 40": said["family 40"],
        "raw": said["raw"],
        "bind through the proxy": "7",
        "udp through the proxy": "7",
        "loopback through the proxy": refused,
        "mapped": refused,
        "unspecified": refused,
        "metadata": refused,
        "the entrance": refused,
        "another port": refused,
    }
    for kind in ("family 16", "family 17", "family 38", "family 40", "raw"):
        assert said[kind] in ("EPERM", "EACCES", "EAFNOSUPPORT"), (kind, said[kind])


async def test_a_function_without_egress_has_no_network_and_is_told_so(local: LocalBox) -> None:
    body = """
        import json, urllib.request
        def main(api, url: str):
            try:
                urllib.request.urlopen(url)
            except OSError as error:
                return json.dumps(str(error)).encode()
    """
    async with server(web_page) as port:
        said = await answer(local, source(body), url=f"http://{WEB_HOST}:{port}/")
    assert "this box gives functions no network" in said or "manifest" in said
