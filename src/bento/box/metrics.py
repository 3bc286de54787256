"""How the box is doing, as numbers for its operator: Prometheus' text format on a local socket.

Off unless the operator's file has `[metrics]`. Whoever reads it learns how busy the box is and nothing of
anybody: no label has a user, function or destination in it, counts are rounded up to multiples of 8 (as
Tor's own statistics are) and bytes to multiples of 16 MiB, and all numbers stand still for a minute.
One visit moves no number by itself that could be told from another's.

Written by hand: the format is 20 lines. prometheus_client would bring a registry, threads and an HTTP server
of its own, and by default tells of the process what nobody asked it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bento.errors import KINDS, HostError
from bento.safelog import Event, log

if TYPE_CHECKING:
    from bento.box.door import Door
    from bento.box.instances import Instances
    from bento.box.sandboxes import Sandboxes

COUNT_STEP = 8  # rend-spec and dir-spec round their statistics so
BYTE_STEP = 16 << 20
PERIOD = 60  # seconds in which no number moves

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """One family. `samples` are (label or "", value); labels come from closed sets of our own."""

    name: str
    kind: str  # "gauge" or "counter"
    help: str
    samples: tuple[tuple[str, int], ...]

    def text(self) -> str:
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}"]
        for label, value in self.samples:
            lines.append(f"{self.name}{{{label}}} {value}" if label else f"{self.name} {value}")
        return "\n".join(lines) + "\n"


def bucket(value: int, step: int) -> int:
    """`value` rounded up to a multiple of `step`."""
    return -(-value // step) * step


def measure(instances: Instances, sandboxes: Sandboxes, door: Door) -> list[Metric]:
    """The whole offer, taken now."""
    return [
        Metric(
            *("bento_instances", "gauge", "Installed functions, rounded up to a multiple of 8."),
            (("", bucket(len(instances), COUNT_STEP)),),
        ),
        Metric(
            *("bento_instances_limit", "gauge", "Installed functions that the policy allows."),
            (("", instances.capacity),),
        ),
        Metric(
            *("bento_sandboxes_ready", "gauge", "Empty sandboxes that wait in the pool."),
            tuple((f'image="{image}"', sandboxes.ready(image)) for image in sandboxes.images),
        ),
        Metric(
            "bento_refusals_total",
            "counter",
            "Requests refused, by the place of the fault, rounded up to a multiple of 8.",
            tuple(
                (f'kind="{kind}"', bucket(door.refusals[kind], COUNT_STEP))
                for kind in sorted(KINDS)
            ),
        ),
        Metric(
            "bento_bytes_total",
            "counter",
            "Bytes between clients and functions, rounded up to a multiple of 16 MiB.",
            (
                ('direction="in"', bucket(instances.moved[0], BYTE_STEP)),
                ('direction="out"', bucket(instances.moved[1], BYTE_STEP)),
            ),
        ),
    ]


class Board:
    """The text, anew at most once in PERIOD."""

    def __init__(
        self, take: Callable[[], Iterable[Metric]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = take
        self._clock = clock
        self._period = -1
        self._text = ""

    @property
    def text(self) -> str:
        period = int(self._clock()) // PERIOD
        if period != self._period:
            self._period = period
            self._text = "".join(metric.text() for metric in self._take())
        return self._text


class MetricsServer:
    """HTTP/1.1 with one page, /metrics, on a unix socket or a loopback port."""

    _HEAD = 8 << 10  # bytes of a request at most
    _PATIENCE = 10.0  # seconds for one

    def __init__(self, board: Board) -> None:
        self._board = board
        self._server: asyncio.Server | None = None

    async def open(self, listen: str) -> None:
        """`listen` is `unix:/path` or `HOST:PORT`, checked by `config`. Raises HostError."""
        host, _, place = listen.rpartition(":")
        try:
            if host == "unix":
                Path(place).unlink(missing_ok=True)
                self._server = await asyncio.start_unix_server(self._serve, place, limit=self._HEAD)
            else:
                self._server = await asyncio.start_server(
                    self._serve, host.strip("[]"), int(place), limit=self._HEAD
                )
        except OSError as error:
            raise HostError(f"metrics cannot be served on {listen}: {error.strerror}") from None
        log(Event.METRICS_OPEN)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # gone, too slow (TimeoutError is an OSError), or no request
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        method, path = (words[0], words[1]) if len(words) == 3 else (b"", b"")
        if method not in (b"GET", b"HEAD"):
            return _page("405 Method Not Allowed", "")
        # A page in the operator's browser may send requests here under a name of its own.
        if path != b"/metrics" or _named(head):
            return _page("404 Not Found", "")
        return _page("200 OK", self._board.text, body=method == b"GET")


def _named(head: bytes) -> bool:
    """Whether the request is for a host by name: DNS can let any name but localhost mean this machine."""
    hosts = [
        line[5:].strip().decode("ascii", "replace")
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"host:")
    ]
    return not all(_is_local(host) for host in hosts)


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _page(status: str, text: str, *, body: bool = True) -> bytes:
    content = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (content if body else b"")
