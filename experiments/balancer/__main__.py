"""`make experiment-balancer`: the paper's figure 5, on one private network in one run.

Thirteen unmodified clients, a second apart, each download one file from one onion service; four servers
there are, each behind a limit of tor's own. Without a balancer all are one server's; with Bento the front
chooses: at most two a server as in the paper, by what it measures, or so that who comes waits up to 20 s
for a place of their own. Beside it what a fluid would do: without a visit's set-up and at the rate that the
limiter is told, and with the set-up and the rate that were measured here with one server.
Writes the curves as SVG and prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bento.functions.balancer.fleet import Options
from experiments.balancer import services
from experiments.balancer.clients import everybody
from experiments.balancer.limited import CLIENTS, SERVERS, LimitedNetwork
from experiments.balancer.measures import (
    Download,
    first_byte,
    fluid_optimum,
    jain,
    throughput,
)
from experiments.balancer.plot import svg

ONE = "one C-tor"

CELL_SHARE = 488 / 536
"""Of what passes a limiter, what arrives: data bytes of a cell by its bytes on the wire."""


@dataclass(frozen=True)
class Row:
    """Of one way to serve. `busy`: processor seconds of everything, a second of the run and core."""

    way: str
    downloads: list[Download]
    replica_seconds: float
    most: int
    busy: float
    served: list[int]

    def figures(self) -> dict[str, object]:
        seconds = [d.seconds for d in self.downloads]
        return {
            "way": self.way,
            "mean": round(mean(seconds), 1),
            "longest": round(max(seconds), 1),
            "first_byte": round(first_byte(self.downloads), 2),
            "all_done": round(max(d.ended for d in self.downloads), 1),
            "jain": round(jain([1 / s for s in seconds]), 3),
            "replica_seconds": round(self.replica_seconds, 1),
            "servers": self.most,
            "served": self.served,
            "busy": round(self.busy, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="experiments.balancer", description=__doc__)
    parser.add_argument(
        "--rate", type=int, default=400_000, help="a server's uplink, bytes a second"
    )
    parser.add_argument("--size", type=int, default=2_000_000, help="of the file, bytes")
    parser.add_argument("--only", nargs="+", metavar="WAY", help="of the ways; default: all")
    parser.add_argument("--plot", type=Path, default=Path("figure5.svg"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bento-figure5-") as folder:
        network = LimitedNetwork(Path(folder), args.rate)
        try:
            network.start()
            rows = asyncio.run(_rows(network, args))
        finally:
            network.stop()
    fluids = {"fluid": (args.rate * CELL_SHARE, 0.0)}
    for one in (row.downloads for row in rows if row.way == ONE):
        fluids["fluid, as measured"] = throughput(one), first_byte(one)
    for name, (rate, set_up) in fluids.items():
        print(json.dumps({"way": name, **_fluid(args.size, rate, set_up)}))
    args.plot.write_text(svg({row.way: row.downloads for row in rows}))


def _fluid(size: int, rate: float, set_up: float) -> dict[str, float]:
    best = fluid_optimum([float(n) for n in range(CLIENTS)], size, SERVERS, rate)
    return {"mean": round(set_up + mean(best), 1), "rate": round(rate), "set_up": round(set_up, 2)}


async def _rows(network: LimitedNetwork, args: argparse.Namespace) -> list[Row]:
    content = os.urandom(args.size)
    ways: dict[str, Callable[[], AbstractAsyncContextManager[services.Serving]]] = {
        ONE: lambda: services.one_tor(network, content),
        "Bento, two a server": lambda: services.bento(
            network, content, Options(most=SERVERS, least=1, limit=2, calm=5.0)
        ),
        "Bento, measured": lambda: services.bento(
            network, content, Options(most=SERVERS, least=1, calm=5.0)
        ),
        "Bento, a place each": lambda: services.bento(
            network, content, Options(most=SERVERS, least=1, calm=5.0, wait=20.0)
        ),
    }
    rows = []
    for way in args.only or ways:
        rows.append(await _row(network, way, ways[way], args.size))
        print(json.dumps(rows[-1].figures()), flush=True)
    return rows


async def _row(
    network: LimitedNetwork,
    way: str,
    serve: Callable[[], AbstractAsyncContextManager[services.Serving]],
    size: int,
) -> Row:
    proxies = [network.proxy(n) for n in range(CLIENTS)]
    async with serve() as serving:
        began, spent = time.monotonic(), network.cpu_seconds() + time.process_time()
        downloads = await everybody(proxies, lambda _: serving.address, size)
        spent = network.cpu_seconds() + time.process_time() - spent
        lasted = time.monotonic() - began
    busy = spent / lasted / (os.cpu_count() or 1)
    served = list(serving.served.values())
    return Row(way, downloads, serving.replica_seconds, serving.most, busy, served)


if __name__ == "__main__":
    main()
