"""Ordinary Python network code just works in a namespace that has only loopback.

Every test with `inside` runs its code by Debian's Python in a network namespace of its own, with
guest.network installed and a real proxy on the listener that was born in there."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import ssl
import subprocess
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.egress.sandboxed import (
    HERE,
    SRC,
    WEB_HOST,
    proxy,
    run_inside,
    server,
    web_page,
    web_policy,
)

from bento.egress import DirectRoute, IPAddress, NoRoute, TableResolver
from bento.egress.socks_server import Reply, SocksServer, encode_reply
from bento.guest import dial, names

NAMES = TableResolver({"web.test": [ip_address(WEB_HOST)], "host.test": [ip_address("127.0.0.1")]})
Serve = Callable[[socket.socket], Awaitable[None]]


async def inside(code: str, *rules: str, resolver: object = NAMES, **values: object) -> object:
    """Runs `code` with `values` as its variables; gives what it passed to `result`."""
    async with proxy(web_policy(*(rules or ["*:*"])), DirectRoute(resolver)) as egress:  # type: ignore[arg-type]
        return await inside_at(code, egress.serve, **values)


async def inside_at(code: str, serve: Serve, **values: object) -> object:
    head = "import json\ndef result(value): print('\\0' + json.dumps(value))\n"
    head += "".join(f"{name} = {value!r}\n" for name, value in values.items())
    body = "\n".join(line.removeprefix("        ") for line in code.split("\n"))
    printed = await run_inside(head + body, serve)
    return json.loads(printed.rpartition("\0")[2])


# --- plain code reaches the web ---

WAYS = {
    "urllib": """
        import urllib.request
        result(urllib.request.urlopen(URL).read().decode())
    """,
    "http.client": """
        import http.client
        connection = http.client.HTTPConnection(HOST, PORT, timeout=60)
        connection.request("GET", "/")
        result(connection.getresponse().read().decode())
        connection.close()
    """,
    "requests": """
        import requests
        result(requests.get(URL).text)
    """,
    "httpx": """
        import httpx
        with httpx.Client() as client:
            result(client.get(URL).text)
    """,
    "httpx async": """
        import asyncio, httpx
        async def main():
            async with httpx.AsyncClient() as client:
                result((await client.get(URL)).text)
        asyncio.run(main())
    """,
    "asyncio": """
        import asyncio
        async def main():
            reader, writer = await asyncio.open_connection(HOST, PORT)
            assert writer.get_extra_info("peername")[1] == PORT
            writer.write(f"GET / HTTP/1.0\\r\\nHost: {HOST}:1\\r\\n\\r\\n".encode())
            result((await reader.read()).decode().partition("\\r\\n\\r\\n")[2])
            writer.close()
        asyncio.run(main())
    """,
    "socket": """
        import socket
        with socket.create_connection((HOST, PORT), timeout=60) as sock:
            sock.sendall(f"GET / HTTP/1.0\\r\\nHost: {HOST}:1\\r\\n\\r\\n".encode())
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile() as file:
                result(file.read().partition("\\n\\n")[2])
    """,
    "socket by name": """
        import socket
        with socket.socket() as sock:
            sock.connect((HOST, PORT))
            sock.sendall(f"GET / HTTP/1.0\\r\\nHost: {HOST}:1\\r\\n\\r\\n".encode())
            with sock.makefile() as file:
                result(file.read().partition("\\n\\n")[2])
    """,
}


@pytest.mark.parametrize("host", ["web.test", WEB_HOST])
@pytest.mark.parametrize("way", WAYS)
async def test_plain_code_reaches_the_web(way: str, host: str) -> None:
    async with server(web_page) as port:
        url = f"http://{host}:{port}/"
        rule = f"{host}:{port}"
        assert await inside(WAYS[way], rule, HOST=host, PORT=port, URL=url) == f"page of {host}"


TLS_WAYS = {
    "urllib": """
        import ssl, urllib.request
        context = ssl.create_default_context(cafile=CA)
        result(urllib.request.urlopen(URL, context=context).read().decode())
    """,
    "requests": """
        import requests
        result(requests.get(URL, verify=CA).text)
    """,
    "httpx": """
        import httpx
        with httpx.Client(verify=CA) as client:
            result(client.get(URL).text)
    """,
    "httpx async": """
        import asyncio, httpx
        async def main():
            async with httpx.AsyncClient(verify=CA) as client:
                result((await client.get(URL)).text)
        asyncio.run(main())
    """,
    "asyncio": """
        import asyncio, ssl
        async def main():
            context = ssl.create_default_context(cafile=CA)
            reader, writer = await asyncio.open_connection("web.test", PORT, ssl=context)
            writer.write(b"GET / HTTP/1.0\\r\\nHost: web.test:1\\r\\n\\r\\n")
            result((await reader.read()).decode().partition("\\r\\n\\r\\n")[2])
            writer.close()
        asyncio.run(main())
    """,
    "a socket wrapped before it is connected": """
        import socket, ssl
        context = ssl.create_default_context(cafile=CA)
        with context.wrap_socket(socket.socket(), server_hostname="web.test") as sock:
            sock.settimeout(60)
            sock.connect(("web.test", PORT))
            assert sock.getpeername() == (socket.gethostbyname("web.test"), PORT)
            sock.sendall(b"GET / HTTP/1.0\\r\\nHost: web.test:1\\r\\n\\r\\n")
            with sock.makefile() as file:
                result(file.read().partition("\\n\\n")[2])
    """,
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for web.test that signs itself, and a server's context with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("web.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.mark.parametrize("way", TLS_WAYS)
async def test_tls_is_checked_against_the_name_asked_for(
    way: str, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    path, context = certificate
    async with server(web_page, ssl=context) as port:
        url = f"https://web.test:{port}/"
        assert await inside(TLS_WAYS[way], PORT=port, URL=url, CA=str(path)) == "page of web.test"


async def test_an_ipv6_socket_reaches_the_web_too() -> None:
    code = """
        import socket
        answers = socket.getaddrinfo("web.test", PORT, socket.AF_INET6, socket.SOCK_STREAM)
        (family, kind, proto, _, address), = answers
        peers = []
        for target in (address, ("::ffff:127.80.7.1", PORT), ("web.test", PORT, 0, 0)):
            with socket.socket(family, kind, proto) as sock:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.connect(target)
                peers.append(sock.getpeername()[:2])
                sock.sendall(b"GET / HTTP/1.0\\r\\nHost: six:1\\r\\n\\r\\n")
                with sock.makefile() as file:
                    assert file.read().endswith("page of six")
        result(peers)
    """
    async with server(web_page) as port:
        stand_in = ["::ffff:198.18.0.1", port]
        assert await inside(code, PORT=port) == [
            stand_in,
            [f"::ffff:{WEB_HOST}", port],
            ["198.18.0.1", port],
        ]


async def test_twenty_threads_at_once_each_get_their_own_page() -> None:
    code = """
        import threading, urllib.request
        pages = {}
        def fetch(n):
            pages[n] = urllib.request.urlopen(f"http://n{n}.test:{PORT}/").read().decode()
        threads = [threading.Thread(target=fetch, args=(n,)) for n in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        result([pages.get(n) for n in range(20)])
    """

    async def any_name(name: str) -> list[IPAddress]:
        return [ip_address("127.80.7.100") if name == "n7.test" else ip_address(WEB_HOST)]

    async def other_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nthe seventh")
        writer.close()

    async with server(web_page) as port:
        listener = await asyncio.start_server(other_page, "127.80.7.100", port)
        pages = await inside(code, resolver=any_name, PORT=port)
        listener.close()
    expected = [f"page of n{n}.test" for n in range(20)]
    expected[7] = "the seventh"
    assert pages == expected


# --- what stays inside ---


async def test_servers_of_the_function_itself_are_reached_directly() -> None:
    code = """
        import asyncio, http.server, socket, threading, urllib.request
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200); self.end_headers(); self.wfile.write(b"mine")
            def log_message(self, *rest): pass
        pages = []
        for name in ("localhost", "127.0.0.1", socket.gethostname(), "own.localhost", ""):
            with http.server.ThreadingHTTPServer((name, 0), Page) as httpd:
                threading.Thread(target=httpd.serve_forever).start()
                for asked in ("localhost", "127.0.0.1", socket.gethostname(), "a.localhost"):
                    url = f"http://{asked}:{httpd.server_port}/"
                    pages.append(urllib.request.urlopen(url).read().decode())
                httpd.shutdown()

        async def main():
            async def hello(reader, writer):
                writer.write(repr(writer.get_extra_info("peername")[0]).encode()); writer.close()
            for host, asked in (("127.0.0.1", "localhost"), ("::1", "localhost"), ("::1", "::1")):
                async with await asyncio.start_server(hello, host, 0) as local:
                    port = local.sockets[0].getsockname()[1]
                    reader, writer = await asyncio.open_connection(asked, port)
                    pages.append((await reader.read()).decode())
                    writer.close()
        asyncio.run(main())
        result(pages)
    """
    async with proxy(web_policy("*:*"), DirectRoute(NAMES)) as egress:
        pages = await inside_at(code, egress.serve)
        assert pages == ["mine"] * 20 + ["'127.0.0.1'", "'::1'", "'::1'"]
        assert egress.counters.connections == egress.counters.refused == 0


async def test_unix_sockets_and_socket_pairs_are_untouched(tmp_path: Path) -> None:
    code = """
        import socket
        one, other = socket.socketpair()
        one.sendall(b"pair"); assert other.recv(9) == b"pair"
        listener = socket.socket(socket.AF_UNIX); listener.bind(PATH); listener.listen()
        client = socket.socket(socket.AF_UNIX); client.connect(PATH)
        result([client.getpeername(), one.getpeername()])
        for sock in (one, other, listener, client): sock.close()
    """
    path = str(tmp_path / "s")
    assert await inside(code, PATH=path) == [path, ""]


async def test_datagrams_work_inside_and_are_refused_outside_in_words() -> None:
    code = """
        import asyncio, socket
        one = socket.socket(type=socket.SOCK_DGRAM); one.bind(("localhost", 0))
        other = socket.socket(type=socket.SOCK_DGRAM)
        other.sendto(b"to", ("localhost", one.getsockname()[1])); assert one.recv(9) == b"to"
        other.sendto(b"flags", 0, one.getsockname()); assert one.recv(9) == b"flags"
        other.sendmsg([b"msg"], [], 0, one.getsockname()); assert one.recv(9) == b"msg"
        other.connect(one.getsockname()); other.send(b"sent"); assert one.recv(9) == b"sent"
        other.close()
        said = []
        def tell(act, *args):
            try:
                act(*args)
            except PermissionError as error:
                said.append(str(error))
        for address in (("8.8.8.8", 53), ("dns.test", 53), ("127.80.7.1", 53)):
            tell(one.sendto, b"x", address)
            tell(one.sendto, b"x", 0, address)
            tell(one.sendmsg, [b"x"], [], 0, address)
            tell(one.connect, address)
            tell(one.connect_ex, address)
        async def main():
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("8.8.8.8", 53))
        tell(lambda: asyncio.run(main()))
        one.close()
        result(said)
    """
    words = "[Errno 1] functions reach the network by TCP only"
    assert await inside(code) == [words] * 16


# --- names ---


async def test_looking_names_up_asks_nobody_and_gives_stand_ins() -> None:
    code = """
        import socket
        def first(*args): return list(socket.getaddrinfo(*args)[0][4])
        result({
            "name": first("web.test", 80), "again": first(b"WEB.test.", "http"),
            "other": first("other.test", 443), "idna": first("b\\xfccher.test", 1),
            "gethostbyname": socket.gethostbyname("web.test"),
            "ex": socket.gethostbyname_ex("web.test"),
            "back": socket.gethostbyaddr("198.18.0.1"),
            "info": socket.getnameinfo(("198.18.0.1", 80), socket.NI_NUMERICSERV),
            "number": socket.getnameinfo(("198.18.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
            "fqdn": socket.getfqdn("web.test"),
            "literal": first("8.8.8.8", 53), "six": first("2606:4700::1", 53)[:2],
            "old form": first("127.1", 80), "localhost": first("localhost", 80),
            "any": first(None, 80, 0, 0, 0, socket.AI_PASSIVE),
            "canonical": socket.getaddrinfo("web.test", 80, 0, 0, 0, socket.AI_CANONNAME)[0][3],
            "configured": first("web.test", 80, 0, 0, 0, socket.AI_ADDRCONFIG),
            "configured six": first("2606:4700::1", 80, 0, 0, 0, socket.AI_ADDRCONFIG)[0],
            "kinds": len(socket.getaddrinfo("web.test", 80)),
            "enum": repr(socket.getaddrinfo("web.test", 80)[0][0]),
            "bindable": socket.getaddrinfo("localhost", 0, socket.AF_INET6)[0][4][0],
            "self": socket.gethostbyname(socket.gethostname()),
            "local name": socket.gethostbyaddr("127.0.0.1")[0],
        })
    """
    asked: list[str] = []

    async def nobody(name: str) -> list[IPAddress]:
        asked.append(name)
        return []

    assert await inside(code, resolver=nobody) == {
        "name": ["198.18.0.1", 80],
        "again": ["198.18.0.1", 80],
        "other": ["198.18.0.2", 443],
        "idna": ["198.18.0.3", 1],
        "gethostbyname": "198.18.0.1",
        "ex": ["web.test", [], ["198.18.0.1"]],
        "back": ["web.test", [], ["198.18.0.1"]],
        "info": ["web.test", "80"],
        "number": ["198.18.0.1", "80"],
        "fqdn": "web.test",
        "literal": ["8.8.8.8", 53],
        "six": ["2606:4700::1", 53],
        "old form": ["127.0.0.1", 80],
        "localhost": ["127.0.0.1", 80],
        "any": ["0.0.0.0", 80],
        "canonical": "web.test",
        "configured": ["198.18.0.1", 80],
        "configured six": "2606:4700::1",
        "kinds": 3,
        "enum": "<AddressFamily.AF_INET: 2>",
        "bindable": "::1",
        "self": "127.0.0.1",
        "local name": "localhost",
    }
    assert asked == []


async def test_what_is_no_name_is_an_ordinary_resolver_error() -> None:
    code = """
        import socket
        said = []
        for act in (
            lambda: socket.getaddrinfo("", 80),
            lambda: socket.getaddrinfo("a." * 200, 80),
            lambda: socket.getaddrinfo("web.test", 80, 0, 0, 0, socket.AI_NUMERICHOST),
            lambda: socket.getaddrinfo("web.test", "no-such-service"),
            lambda: socket.getnameinfo(("8.8.8.8", 80), socket.NI_NAMEREQD),
            lambda: socket.gethostbyname("8.8.8.8.8" * 60),
            lambda: socket.create_connection(("not a name", 80)),
        ):
            try:
                said.append(repr(act()))
            except socket.gaierror:
                said.append("gaierror")
        try:
            socket.gethostbyaddr("8.8.8.8")
        except socket.herror:
            said.append("herror")
        result(said)
    """
    assert await inside(code) == ["gaierror"] * 7 + ["herror"]


def test_stand_ins_are_distinct_reversible_and_bounded() -> None:
    table = names.StandIns()
    seen = {table.address(f"n{n}.test"): n for n in range(names._NAMES)}
    assert len(seen) == names._NAMES
    assert all(table.name(address) == f"n{n}.test" for address, n in seen.items())
    assert all(ip_address(address) in ip_network("198.18.0.0/15") for address in seen)
    newest = table.address("one-more.test")
    assert table.name(newest) == "one-more.test"
    assert table.name(table.address("n1.test")) == "n1.test"
    assert len(table._names) <= names._NAMES
    assert len(table._numbers) <= names._NAMES
    assert table.name("198.18.255.255") is None
    assert table.name("8.8.8.8") is None


def test_a_name_has_one_stand_in_in_all_threads() -> None:
    class Slow(dict[str, int]):
        """Lets the other threads in between the question and what follows from its answer."""

        def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
            found = super().get(name, default)  # type: ignore[arg-type]
            time.sleep(0.01)
            return found

    table = names.StandIns()
    table._numbers = Slow()
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.append(table.address("web.test"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["198.18.0.1"] * 8


# --- refusals and failures, as the function sees them ---

REFUSED_WAYS = {
    "socket": """
        import socket
        tell(lambda: socket.create_connection((HOST, PORT), timeout=60))
    """,
    "urllib": """
        import urllib.request
        tell(lambda: urllib.request.urlopen(f"http://{HOST}:{PORT}/"))
    """,
    "requests": """
        import requests
        tell(lambda: requests.get(f"http://{HOST}:{PORT}/"))
    """,
    "httpx": """
        import httpx
        tell(lambda: httpx.get(f"http://{HOST}:{PORT}/"))
    """,
    "asyncio": """
        import asyncio
        tell(lambda: asyncio.run(asyncio.open_connection(HOST, PORT)))
    """,
    "httpx async": """
        import asyncio, httpx
        async def main():
            async with httpx.AsyncClient() as client:
                await client.get(f"http://{HOST}:{PORT}/")
        tell(lambda: asyncio.run(main()))
    """,
}
# The kinds of all errors in the chain, and the whole text a function's author would read.
TELL = """
        def tell(act):
            import traceback
            try:
                act()
            except Exception as error:
                text, kinds = traceback.format_exc(), []
                while error:
                    kinds += [type(error).__name__, type(getattr(error, "reason", None)).__name__]
                    error = error.__cause__ or error.__context__
                result([kinds, text])
"""


@pytest.mark.parametrize("way", REFUSED_WAYS)
async def test_a_refusal_is_a_permission_error_with_the_reason(way: str) -> None:
    kinds, text = await inside(  # type: ignore[misc]
        TELL + REFUSED_WAYS[way], "web.test:81", HOST="web.test", PORT=80
    )
    assert "PermissionError" in kinds
    assert "web.test:80 is not in the function's manifest" in text
    assert 'the entry "web.test:80" in its egress list would allow it' in text


@pytest.mark.parametrize(
    "host", ["host.test", "127.0.0.53", "10.0.0.1", "169.254.169.254", "192.0.2.77"]
)
async def test_the_hosts_services_and_internal_addresses_are_refused(host: str) -> None:
    kinds, text = await inside(TELL + REFUSED_WAYS["socket"], HOST=host, PORT=80)  # type: ignore[misc]
    assert kinds[0] == "PermissionError"
    assert "which nothing opens" in text


async def test_failures_are_the_ordinary_kinds_of_error() -> None:
    code = """
        import errno, socket
        said = {}
        for host in ("closed.test", "nowhere.test", "slow.test", "refused.test"):
            port = 25 if host == "refused.test" else PORT
            try:
                socket.create_connection((host, port), timeout=60)
            except OSError as error:
                said[host] = [type(error).__name__, str(error)]
            with socket.socket() as sock:
                try:
                    said[host].append(errno.errorcode[sock.connect_ex((host, port))])
                except socket.gaierror:
                    said[host].append("gaierror")
        result(said)
    """

    async def resolver(name: str) -> list[IPAddress]:
        if name == "slow.test":
            raise TimeoutError
        if name == "nowhere.test":
            raise socket.gaierror(-2, "x")
        return [ip_address(WEB_HOST)]

    async with server(web_page) as port:
        pass
    assert await inside(code, f"*:{port}", resolver=resolver, PORT=port) == {
        "closed.test": [
            "ConnectionRefusedError",
            "[Errno 111] the destination refused the connection",
            "ECONNREFUSED",
        ],
        "nowhere.test": ["gaierror", "[Errno -2] the name does not resolve", "gaierror"],
        "slow.test": ["gaierror", "[Errno -2] the name server does not answer", "gaierror"],
        "refused.test": [
            "PermissionError",
            "[Errno 1] refused.test:25 is not in the function's manifest; "
            'the entry "refused.test:25" in its egress list would allow it',
            "EPERM",
        ],
    }


async def test_a_function_without_network_is_told_so() -> None:
    async with proxy(web_policy("*:*"), NoRoute()) as egress:
        code = TELL + REFUSED_WAYS["socket"]
        kinds, text = await inside_at(code, egress.serve, HOST="web.test", PORT=80)  # type: ignore[misc]
    assert kinds[0] == "PermissionError"
    assert "this box gives functions no network" in text


# --- time ---


class Silent:
    """Takes connections and never answers."""

    async def serve(self, listener: socket.socket) -> None:
        self.listener = listener


async def test_the_sockets_own_timeout_counts() -> None:
    code = """
        import socket, time
        began = time.monotonic()
        sock = socket.socket()
        sock.settimeout(0.3)
        try:
            sock.connect(("web.test", 80))
        except TimeoutError as error:
            said = [str(error), sock.gettimeout(), 0.25 < time.monotonic() - began < 30]
        sock.close()
        with socket.socket() as sock:
            sock.settimeout(0.1)
            said.append(sock.connect_ex(("web.test", 80)))
        result(said)
    """
    silent = Silent()
    assert await inside_at(code, silent.serve) == ["timed out", 0.3, True, 11]
    silent.listener.close()


async def test_an_answer_that_dribbles_does_not_stretch_the_timeout() -> None:
    code = """
        import socket, time
        began = time.monotonic()
        with socket.socket() as sock:
            sock.settimeout(0.5)
            try:
                sock.connect(("web.test", 80))
            except TimeoutError:
                result(time.monotonic() - began < 3)
    """
    dribbling: set[asyncio.Task[None]] = set()

    async def serve(listener: socket.socket) -> None:
        async def dribble() -> None:
            loop = asyncio.get_running_loop()
            listener.setblocking(False)
            sock, _ = await loop.sock_accept(listener)
            with sock, listener:
                try:
                    for byte in b"\x05\x00\x05\x00\x00\x01" + bytes(6):
                        await asyncio.sleep(0.3)
                        await loop.sock_sendall(sock, bytes((byte,)))
                except ConnectionError:
                    pass

        dribbling.add(asyncio.create_task(dribble()))

    assert await inside_at(code, serve) is True
    await asyncio.gather(*dribbling)


async def test_a_non_blocking_connect_is_finished_within_a_bounded_wait() -> None:
    code = """
        import select, socket
        said = []
        with socket.socket() as sock:
            sock.setblocking(False)
            said.append(sock.connect_ex(("web.test", PORT)))
            said.append(sock.gettimeout())
            sock.send(b"GET / HTTP/1.0\\r\\nHost: late:1\\r\\n\\r\\n")
            data = b""
            while select.select([sock], [], []) and (more := sock.recv(999)):
                data += more
            said.append(data.decode().rpartition("\\n")[2])
        result(said)
    """
    async with server(web_page) as port:
        assert await inside(code, PORT=port) == [0, 0.0, "page of late"]


async def test_a_non_blocking_connect_gives_up_in_the_end() -> None:
    code = """
        import socket
        socket.socket.connect.__globals__["_PATIENCE"] = 0.2
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                sock.connect(("web.test", 80))
            except TimeoutError:
                result(sock.gettimeout())
    """
    silent = Silent()
    assert await inside_at(code, silent.serve) == 0.0
    silent.listener.close()


async def test_asyncio_goes_on_while_a_connection_is_made() -> None:
    code = """
        import asyncio, threading
        async def main():
            ticks = 0
            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0.01)
            ticking = asyncio.create_task(tick())
            try:
                await asyncio.wait_for(asyncio.open_connection("web.test", 80), 0.5)
            except TimeoutError:
                result([ticks > 3, threading.active_count()])
            ticking.cancel()
        asyncio.run(main())
    """
    silent = Silent()
    assert await inside_at(code, silent.serve) == [True, 1]
    silent.listener.close()


# --- the import hook ---


def bare_python(code: str) -> str:
    """What `code` prints in a bare interpreter; `import_network` is at hand."""
    head = f"import sys; sys.path.insert(0, {str(HERE)!r}); SRC = {str(SRC)!r}\n"
    head += "from inside import import_network\n"
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", head + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_it_works_when_socket_was_imported_before() -> None:
    printed = bare_python("""
        import socket, asyncio
        import_network(SRC).install(1)
        print(socket.gethostbyname("web.test"), len(sys.meta_path))
    """)
    assert printed == "198.18.0.1 3"


def test_installing_imports_nothing() -> None:
    printed = bare_python("""
        before = set(sys.modules)
        import_network(SRC).install()
        print(sorted(set(sys.modules) - before))
    """)
    assert printed == "['bento', 'bento.guest', 'bento.guest.network']"


def test_the_patches_need_no_module_that_socket_does_not_need() -> None:
    code = "import socket; print(*sorted(name for name in sys.modules if 'bento' not in name))"
    patched = bare_python("import_network(SRC).install(); " + code)
    assert patched == bare_python(code)


def test_the_hook_is_gone_once_all_is_patched() -> None:
    printed = bare_python("""
        network = import_network(SRC)
        network.install()
        import socket, asyncio, inspect
        print(network._Finder in sys.meta_path, type(socket.__spec__.loader).__name__,
              inspect.getsource(socket)[:3], socket.socket.connect.__name__)
    """)
    assert printed == "False SourceFileLoader # W connect"


def test_a_module_that_fails_to_import_fails_as_always() -> None:
    printed = bare_python("""
        import_network(SRC).install()
        sys.path[:] = []
        try:
            import socket
        except ModuleNotFoundError as error:
            print(error)
    """)
    assert printed == "No module named 'socket'"


# --- the exchange with the proxy ---


def run_exchange(data: bytes) -> OSError | None:
    """What connect would do if the proxy sent these bytes and then closed."""
    exchange = dial.exchange()
    wanted, place = next(exchange), 0
    while True:
        try:
            piece = data[place : place + wanted]
            place += len(piece)
            wanted = exchange.send(piece)
        except StopIteration:
            return None
        except OSError as error:
            return error


@given(st.binary(max_size=700) | st.binary(max_size=300).map(lambda tail: b"\x05\x00\x05" + tail))
def test_any_answer_is_a_connection_or_an_oserror(data: bytes) -> None:
    error = run_exchange(data)
    assert (error is None) == (data[:4] == b"\x05\x00\x05\x00" and len(data) >= 12)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Reply.FAILURE, ConnectionAbortedError),
        (Reply.NOT_ALLOWED, PermissionError),
        (Reply.NETWORK_UNREACHABLE, OSError),
        (Reply.HOST_UNREACHABLE, socket.gaierror),
        (Reply.CONNECTION_REFUSED, ConnectionRefusedError),
        (Reply.TIMED_OUT, TimeoutError),
        (Reply.COMMAND_NOT_SUPPORTED, OSError),
        (Reply.ADDRESS_NOT_SUPPORTED, socket.gaierror),
    ],
)
def test_every_reply_has_its_kind_of_error(code: Reply, kind: type[OSError]) -> None:
    assert type(run_exchange(b"\x05\x00" + encode_reply(code))) is kind


@given(st.sampled_from([code for code in Reply if code]), st.text(max_size=300))
def test_reasons_of_the_proxy_arrive(code: Reply, reason: str) -> None:
    error = run_exchange(b"\x05\x00" + encode_reply(code, reason))
    assert error is not None
    words = " ".join(reason.split())
    assert not words or words in str(error)


@given(st.from_regex(r"[a-z]{1,60}(\.[a-z]{1,60}){0,3}", fullmatch=True), st.integers(1, 65535))
def test_what_the_guest_asks_is_what_the_proxy_reads(name: str, port: int) -> None:
    with socket.socket() as sock:
        way = dial.find_way(sock, (name, port))
    if name == "localhost" or not way.request:
        return
    parser = SocksServer()
    parser.receive(dial.GREETING + way.request)
    parser.next_event()
    read = parser.next_event()
    assert (read.name, read.ip, read.port) == (name, None, port)  # type: ignore[union-attr]
