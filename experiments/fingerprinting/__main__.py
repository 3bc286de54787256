"""`make experiment-fingerprinting [ROUNDS=N | STORED=1]`: the table of docs/fingerprinting.md, from nothing.

Fetches the sites once, visits them ROUNDS times in every case on a private Tor network, and attacks what
a tap before the guard saw. Visits are kept in build/fingerprinting; a run that was cut goes on. STORED=1
attacks the visits that are stored beside the script instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from experiments.fingerprinting import report, store
from experiments.fingerprinting.attacks import PUBLISHED, Score, published
from experiments.fingerprinting.cases import BESIDE_COVER, CASES, COVERED
from experiments.fingerprinting.collect import Collection, collect
from experiments.fingerprinting.derive import derive
from experiments.fingerprinting.sites import Corpus, sites

_OUTPUT = Path("build/fingerprinting")
_STORED = Path(__file__).parent / "data"
_PLOT = Path("docs/fingerprinting.svg")
_ROUNDS = 3
_USERS = 14
_NO_LIMIT = 1e9  # seconds
COVERED_EACH = 4
"""Of so many sites one is visited under Cover too."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="experiments.fingerprinting", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=_ROUNDS, help="visits to each site in each case"
    )
    parser.add_argument(
        "--cover",
        type=int,
        default=0,
        help="only visit each fourth site so often under Cover: a minute or two each",
    )
    parser.add_argument("--users", type=int, default=_USERS, help="users at once")
    parser.add_argument(
        "--seconds", type=float, default=_NO_LIMIT, help="stop visiting after so long"
    )
    parser.add_argument("--output", type=Path, default=_OUTPUT)
    parser.add_argument("--stored", action="store_true", help="attack the stored visits")
    parser.add_argument("--collect-only", action="store_true")
    parser.add_argument(
        "--published", action="store_true", help="attack by DF and Tik-Tok as published: hours"
    )
    parser.add_argument(
        "--store", action="store_true", help="keep visits, table and plot as the stored ones"
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    visits = _stored() if args.stored else _visited(args)
    if args.collect_only or args.cover:
        return
    if args.published:
        _published(visits, args.output)
        return
    _report(visits, args.output)
    if args.store:
        _STORED.mkdir(exist_ok=True)
        covered = [visit for visit in visits if visit.case == COVERED.name]
        store.pack(_STORED / "visits.xz", [*report.comparable(visits), *covered])
        shutil.copy(args.output / "results.json", _STORED)
        shutil.copy(args.output / "plot.svg", _PLOT)


def _stored() -> list[store.Visit]:
    return store.unpack(_STORED / "visits.xz")


def _visited(args: argparse.Namespace) -> list[store.Visit]:
    corpus = Corpus()
    print("the sites", flush=True)
    corpus.make()
    if corpus.drifted:
        print(f"  of another version than in packages.tsv: {', '.join(corpus.drifted)}")
    path = args.output / "visits.jsonl"
    print(f"visits, in {path}", flush=True)
    collection = (
        Collection(path, sites()[::COVERED_EACH], args.cover, [COVERED])
        if args.cover
        else Collection(path, sites(), args.rounds)
    )
    asyncio.run(collect(collection, corpus, args.seconds, args.users))
    return store.read(path)


def _report(visits: list[store.Visit], output: Path) -> None:
    kept = report.comparable(visits)
    kept += derive(kept)
    rounds = len({visit.number for visit in kept})
    names = len({visit.site for visit in kept})
    title = f"{names} sites, {rounds} visits each in every case"
    print(f"attacks: {title}; accuracy in %, 95 % intervals", flush=True)
    began = time.process_time()
    found = report.rows(kept)
    worlds = report.worlds(kept)
    luck = report.luck(kept)
    covered = report.under_cover([*visits, *derive(visits)])
    beside = report.rows(covered, BESIDE_COVER) if covered else []
    print(f"  {time.process_time() - began:.0f} s of processor time")
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "sites": names,
        "visits": rounds,
        "r14": report.meets_r14(found),
        "rows": report.plain(found),
        "cover": report.plain(beside),
        "luck": luck,
        "open_world": {case: asdict(world) for case, world in worlds.items()},
    }
    (output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    tables = [report.table(found), report.luck_lines(luck), report.world_table(worlds)]
    if beside:
        tables.append(report.table(beside))
    (output / "table.md").write_text("\n".join(tables))
    (output / "plot.svg").write_text(report.plot(found, f"Sites recognised: {title}"))
    print("\n".join(tables))
    print(
        f"R14, best attack within 2 points of the size alone: {'met' if result['r14'] else 'not met'}"
    )


def _published(visits: list[store.Visit], output: Path) -> None:
    """Attacks by the networks as published, one after the other; a run that was cut goes on."""
    path = output / "published.json"
    found: dict[str, dict[str, dict[str, float]]] = (
        json.loads(path.read_text()) if path.exists() else {}
    )
    kept = report.comparable(visits)
    kept += derive(kept)
    for case in CASES:
        scores = found.setdefault(case.name, {})
        for name in (each for each in PUBLISHED if each not in scores):
            scores[name] = asdict(published(name, [v for v in kept if v.case == case.name]))
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(f"  {case.what}, {name}: {scores[name]}", flush=True)
    print(
        report.published_table(
            {
                case: {name: Score(**score) for name, score in scores.items()}  # type: ignore[arg-type]
                for case, scores in found.items()
            }
        )
    )


if __name__ == "__main__":
    main()
