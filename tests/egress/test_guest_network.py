"""What a function sees: ordinary Python code in a namespace with only loopback."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from bento.egress import DirectRoute, TableResolver
from tests.egress.sandboxed import WEB_HOST, proxy, run_inside, server, web_page, web_policy

NAMES = {"web.test": [ip_address(WEB_HOST)]}

WAYS = {
    "urllib": """
        import urllib.request
        print(urllib.request.urlopen(URL).read().decode())
    """,
    "http.client": """
        import http.client
        connection = http.client.HTTPConnection("web.test", PORT, timeout=60)
        connection.request("GET", "/")
        print(connection.getresponse().read().decode())
        connection.close()
    """,
    "requests": """
        import requests
        print(requests.get(URL).text)
    """,
    "httpx": """
        import httpx
        with httpx.Client() as client:
            print(client.get(URL).text)
    """,
    "httpx async": """
        import asyncio, httpx
        async def main():
            async with httpx.AsyncClient() as client:
                print((await client.get(URL)).text)
        asyncio.run(main())
    """,
    "asyncio": """
        import asyncio
        async def main():
            reader, writer = await asyncio.open_connection("web.test", PORT)
            writer.write(b"GET / HTTP/1.0\\r\\nHost: web.test:1\\r\\n\\r\\n")
            print((await reader.read()).decode().partition("\\r\\n\\r\\n")[2])
            writer.close()
        asyncio.run(main())
    """,
    "socket": """
        import socket
        sock = socket.create_connection(("web.test", PORT), timeout=60)
        sock.sendall(b"GET / HTTP/1.0\\r\\nHost: web.test:1\\r\\n\\r\\n")
        sock.shutdown(socket.SHUT_WR)
        print(sock.makefile().read().partition("\\n\\n")[2])
        sock.close()
    """,
}


@pytest.mark.parametrize("way", WAYS)
async def test_plain_code_reaches_the_web_by_name(way: str) -> None:
    async with server(web_page) as port:
        code = f"PORT = {port}; URL = 'http://web.test:{port}/'\n" + WAYS[way].replace(
            "\n        ", "\n"
        )
        async with proxy(web_policy("web.test:*"), DirectRoute(TableResolver(NAMES))) as egress:
            assert (await run_inside(code, egress.serve)).strip() == "page of web.test"
            assert egress.counters.connections == 1
            assert egress.counters.bytes_in > len("page of web.test")
