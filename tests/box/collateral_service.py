"""A collateral service on loopback, and a SOCKS port that leads to it."""

import asyncio
import contextlib
import json
from urllib.parse import quote


def answers(parts, hexadecimal=False):
    """Path and query -> (body, headers), with Intel's real statements."""

    def chain(name):
        return quote(parts[name].decode())

    def crl(name):
        return parts[name].hex().encode() if hexadecimal else parts[name]

    def signed(name, part):
        signature = parts[f"{part}_signature"].hex()
        return b'{"%s":%s,"signature":"%s"}' % (name, parts[part], signature.encode())

    fmspc = json.loads(parts["tcb_info"])["fmspc"]
    return {
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der": (
            crl("pck_crl"),
            {"SGX-PCK-CRL-Issuer-Chain": chain("pck_crl_issuer_chain")},
        ),
        "/sgx/certification/v4/rootcacrl": (crl("root_ca_crl"), {}),
        f"/tdx/certification/v4/tcb?fmspc={fmspc}": (
            signed(b"tcbInfo", "tcb_info"),
            {"TCB-Info-Issuer-Chain": chain("tcb_info_issuer_chain")},
        ),
        "/tdx/certification/v4/qe/identity": (
            signed(b"enclaveIdentity", "qe_identity"),
            {"SGX-Enclave-Identity-Issuer-Chain": chain("qe_identity_issuer_chain")},
        ),
    }


class Service:
    """`answers` may be changed; `asked` are the requests' first lines. `url` has a prefix, as caches do."""

    def __init__(self, parts, hexadecimal=False):
        self.answers = answers(parts, hexadecimal)
        self.asked = []
        self.raw = None  # instead of any answer
        self.url = ""

    async def handle(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n")[0].decode()
        self.asked.append(line)
        writer.write(self.raw if self.raw is not None else self._answer(line.split(" ")[1]))
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    def _answer(self, target):
        found = self.answers.get(target)
        if found is None:
            return b"HTTP/1.0 404 Not Found\r\n\r\n"
        body, headers = found
        lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def service(parts, hexadecimal=False):
    made = Service(parts, hexadecimal)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        made.url = f"http://{host}:{port}"
        yield made


@contextlib.asynccontextmanager
async def socks_to(url):
    """A SOCKS port that leads everybody to `url`; gives its endpoint and the names asked for."""
    host, port = url.removeprefix("http://").split(":")
    names = []

    async def pipe(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def handle(reader, writer):
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\5\2")
        _, size = await reader.readexactly(2)
        await reader.readexactly(size)
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\1\0")
        *_, kind = await reader.readexactly(4)
        assert kind == 3, "names are resolved at the far end"
        names.append((await reader.readexactly((await reader.readexactly(1))[0])).decode())
        await reader.readexactly(2)
        writer.write(b"\5\0\0\1" + bytes(6))
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname()), names
