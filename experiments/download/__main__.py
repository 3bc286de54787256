"""`make experiment-download [ROUNDS=N]`: the tables of docs/download.md, from nothing.

Five of the fingerprinting experiment's sites, from light to heavy, on a private Tor network whose every
link takes 50 ms each way. Chromium over Tor is timed from the navigation to the load event, its own start not
counted. Browser is timed from the request on a built circuit to the last byte at home, in each set of sizes,
sent when ready: installing, the box's Chromium and the padding are in it. The rounds are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from experiments.download.memory import memory
from experiments.download.times import CASES, Log, Times, measure

_OUTPUT = Path("build/download")
_ROUNDS = 3
_NO_LIMIT = 1e9  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="experiments.download", description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--seconds", type=float, default=_NO_LIMIT, help="stop after so long")
    parser.add_argument("--output", type=Path, default=_OUTPUT)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    log = Log(args.output / "times.jsonl")
    if left := asyncio.run(measure(log, args.rounds, args.seconds)):
        print(f"{left} page loads are left: run it again")
        return
    weights = asyncio.run(memory())
    text = f"{_times_table(log.times)}\n{_memory_table(weights)}"
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": args.rounds,
        "seconds": {page: taken.seconds for page, taken in log.times.items()},
        "memory": weights,
    }
    (args.output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.output / "tables.md").write_text(text)
    print(text)


def _times_table(timed: dict[str, Times]) -> str:
    lines = [_row(["page", "resources", "weight", *CASES]), _row(["---"] * (3 + len(CASES)))]
    for page, taken in timed.items():
        cells = [_cell(taken.seconds.get(case, [])) for case in CASES]
        lines.append(_row([page, str(taken.resources), f"{taken.weight / 1000:,.0f} KB", *cells]))
    return "\n".join(lines) + "\n"


def _cell(seconds: list[float]) -> str:
    if not seconds:
        return ""
    return f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def _memory_table(weights: dict[str, int]) -> str:
    lines = [_row(["instance of", "private memory"]), _row(["---", "---"])]
    lines += [_row([what, f"{size / 2**20:.1f} MiB"]) for what, size in weights.items()]
    return "\n".join(lines) + "\n"


def _row(values: list[str]) -> str:
    return "| " + " | ".join(values) + " |"


if __name__ == "__main__":
    main()
