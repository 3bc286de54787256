"""The pure parts of the fingerprinting experiment: cells from records, features, folds, intervals, bounds."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.fingerprinting import features, store
from experiments.fingerprinting.cases import CASES, IN_TIME, SENT, SHIPPED, Answer, answer
from experiments.fingerprinting.cells import CELL, OVERHEAD, Cells, Trace, later
from experiments.fingerprinting.derive import derive
from experiments.fingerprinting.judge import alike, bound, folds, swapped, wilson
from experiments.fingerprinting.sites import packages, sites
from experiments.fingerprinting.store import Visit
from experiments.fingerprinting.tap import Tap
from experiments.fingerprinting.web import find
from experiments.fingerprinting.world import open_world
from hypothesis import given, settings
from hypothesis import strategies as st

from bento.errors import TorError
from bento.functions.browser.sizes import WARM_UP_BYTES


def record(content: int, kind: int = 23) -> bytes:
    """A TLS record that carries so many bytes."""
    return struct.pack("!BHH", kind, 0x303, content + OVERHEAD) + bytes(content + OVERHEAD)


def visit(case: str = "x2", site: str = "a", number: int = 0, **more: float) -> Visit:
    trace = Trace([0.0, 0.1, 3.0, 3.1], [2, -1, -30, -30])
    return Visit(case, site, number, trace, **more)  # type: ignore[arg-type]


# -- cells --------------------------------------------------------------------------------------


def test_a_record_of_n_cells_is_n_cells() -> None:
    assert [Cells().feed(record(n * CELL)) for n in (1, 2, 31)] == [1, 2, 31]


def test_records_that_end_amid_cells_come_to_whole_cells_all_the_same() -> None:
    """So tor's look under load: full records of 16 KiB."""
    cells = Cells()
    pieces = [16384, 16384, 100 * CELL - 2 * 16384]
    assert sum(cells.feed(record(piece)) for piece in pieces) == 100
    assert cells.rest == 0


def test_what_opens_a_link_is_forgotten_when_it_has_settled() -> None:
    cells = Cells()
    cells.feed(record(37) + record(100, kind=22))
    assert cells.rest == 37
    cells.settle()
    assert (cells.feed(record(CELL)), cells.rest) == (1, 0)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 16384), max_size=8), st.integers(1, 400))
def test_whole_or_in_pieces_alike(contents: list[int], size: int) -> None:
    stream = b"".join(map(record, contents))
    whole, cut = Cells(), Cells()
    assert whole.feed(stream) == sum(
        cut.feed(stream[at : at + size]) for at in range(0, len(stream), size)
    )
    assert whole.rest == cut.rest == sum(contents) % CELL


def test_a_trace_knows_its_cells_one_by_one() -> None:
    trace = Trace([0.0, 1.0], [2, -3])
    assert (len(trace), trace.seconds) == (5, 1.0)
    assert trace.directions().tolist() == [1, 1, -1, -1, -1]
    assert trace.cell_times().tolist() == [0, 0, 1, 1, 1]


# -- the tap ------------------------------------------------------------------------------------


async def through(tap: Tap, target: str, sent: bytes) -> bytes:
    """What comes back of `sent`, through the tap, from whoever listens at `target`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", tap.port)
    writer.write(f"CONNECT {target} HTTP/1.0\r\nHost: {target}\r\n\r\n".encode())
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        return await reader.readexactly(len(sent))
    finally:
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_tap_passes_every_byte_on_and_counts_the_cells_of_both_ways(echo: str) -> None:
    async with Tap() as tap:
        began = tap.begin()
        sent = record(40 * CELL - 9) + record(9)
        assert await through(tap, echo, sent) == sent
        trace = tap.end(began)
    assert (trace.cells[trace.cells > 0].sum(), trace.cells[trace.cells < 0].sum()) == (40, -40)
    assert (np.diff(trace.times) >= 0).all()


async def test_a_visit_that_does_not_come_to_whole_cells_is_no_visit(echo: str) -> None:
    async with Tap() as tap:
        began = tap.begin()
        await through(tap, echo, record(CELL + 1))
        with pytest.raises(TorError):
            tap.end(began)


async def test_the_tap_reaches_nothing_but_loopback() -> None:
    async with Tap() as tap:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await through(tap, "192.0.2.1:9001", b"")


# -- derived cases ------------------------------------------------------------------------------


def test_a_later_start_moves_the_answer_and_nothing_else() -> None:
    moved = later(Trace([0.0, 1.0, 2.0], [1, -1, -1]), after=1.0, by=0.5)
    assert moved.times.tolist() == [0.0, 1.5, 2.5]


def test_as_shipped_the_answer_waits_for_its_power_of_two() -> None:
    pages = [visit(case="browser", ready=2.4), visit(ready=2.5, first=3.0), visit(case="7MB")]
    (shipped,) = derive(pages)
    assert shipped.case == SHIPPED.name
    assert shipped.trace.times == pytest.approx([0.0, 0.1, 4.6, 4.7])
    assert shipped.first == pytest.approx(4.6)


def test_an_answer_that_began_late_is_moved_to_where_all_others_begin() -> None:
    """It was ready after 9 s, so it was sent at 16."""
    late = replace(
        visit(case="x2-fixed", first=17.0), trace=later(visit().trace, after=3.0, by=14.0)
    )
    (moved,) = derive([visit(case="browser", ready=9.0), late])
    assert moved.case == IN_TIME.name
    assert moved.trace.times == pytest.approx([0.0, 0.1, 9.0, 9.1])


def test_each_sent_case_is_what_the_browser_would_have_sent() -> None:
    told = {case.name: answer(case, 300_000, 2.4) for case in SENT}
    assert told == {
        "1MB": Answer(0, 1_000_000, 2.4),
        "7MB": Answer(0, 7_000_000, 2.4),
        "x2": Answer(WARM_UP_BYTES, 524_288, 2.4),
        "x2-fixed": Answer(WARM_UP_BYTES, 524_288, 8.0),
    }
    assert len({case.name for case in CASES}) == len(CASES)


# -- features -----------------------------------------------------------------------------------

TRACES = st.lists(st.tuples(st.floats(0, 5), st.integers(-40, 40).filter(bool)), max_size=60)


@settings(max_examples=40)
@given(TRACES)
def test_features_of_any_trace_are_finite_and_of_one_length(parts: list[tuple[float, int]]) -> None:
    parts.sort(key=lambda part: part[0])
    trace = Trace([at for at, _ in parts], [count for _, count in parts])
    other = visit().trace
    for of in (features.kfp, features.cumul, features.totals, features.slots):
        assert of(trace).shape == of(other).shape
        assert np.isfinite(of(trace)).all()


def test_totals_hold_size_time_and_the_beginning_of_the_answer() -> None:
    out, coming, seconds, first, silence, began = features.totals(visit().trace)[:6]
    assert (out, coming, seconds, first) == (2, 61, 3.1, 0.1)
    assert (silence, began) == pytest.approx((2.9, 3.0))


def test_seven_megabytes_are_seen_whole_by_the_network() -> None:
    cells = 7_000_000 // 488
    early, late = (features.slots(Trace([0.0, at], [-cells, -1])) for at in (1.0, 9.0))
    assert not np.array_equal(early, late)


# -- judging ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (50, 100, 0.4038, 0.5962), (10, 10, 0.7225, 1.0)],
)
def test_wilson_intervals_are_the_published_ones(
    hits: int, of: int, low: float, high: float
) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=1e-4)


@given(st.lists(st.integers(0, 7), min_size=2).filter(lambda rounds: len(set(rounds)) > 1))
def test_no_round_is_learned_from_and_tested_and_each_visit_is_tested_once(
    rounds: list[int],
) -> None:
    tested: list[int] = []
    for training, test in folds(rounds):
        assert not {rounds[i] for i in training} & {rounds[i] for i in test}
        tested += test.tolist()
    assert sorted(tested) == list(range(len(rounds)))


def test_the_bound_is_what_the_size_gives_away() -> None:
    """Four sites, two of one size: who knows the sizes is right for two, and for one of the other two."""
    sizes = {"a": 1, "b": 2, "c": 3, "d": 3}
    visits = [visit(site=site, number=n, size=size) for site, size in sizes.items() for n in (0, 1)]
    assert bound(visits, lambda each: each.size) == 0.75
    assert bound(visits, lambda each: 0) == 0.25


def test_sites_are_dealt_out_anew_only_among_visits_that_look_alike() -> None:
    visits = [
        visit(site=site, number=n, size=site < "h") for site in "abcdefghijkl" for n in (0, 1)
    ]
    dealt = swapped(visits, lambda each: each.size, seed=1)
    assert [each.site for each in dealt] != [each.site for each in visits]
    assert all(each.trace is old.trace for each, old in zip(dealt, visits, strict=True))
    for like in (True, False):
        for number in (0, 1):
            sites = [
                [v.site for v in some if v.number == number and v.size == like]
                for some in (visits, dealt)
            ]
            assert sorted(sites[0]) == sorted(sites[1])


def test_in_an_open_world_only_the_right_monitored_site_counts() -> None:
    """Of a, b, c, d the sites a and c are monitored; b and d are in turn what was never seen."""
    visits = [visit(site=site, number=n, size=ord(site)) for site in "abcd" for n in (0, 1)]

    def always_a(all_visits, labels, training, test):  # type: ignore[no-untyped-def]
        learned = {all_visits[place].site for place in training}
        assert {"a", "c"} < learned and len(learned) == 3
        return np.ones(len(test), dtype=np.intp)

    world = open_world(always_a, visits)
    assert (world.right, world.said, world.monitored, world.others) == (4, 12, 8, 4)
    assert (world.precision, world.recall) == (1 / 3, 1 / 2)


def test_only_visits_that_are_whole_in_every_case_are_compared() -> None:
    made = [visit(case, site, n) for case in ("x", "y") for site in "abc" for n in (0, 1, 2)]
    lacking = [
        each for each in made if each.key not in {("y", "c", 1), ("x", "a", 2), ("x", "b", 2)}
    ]
    kept = alike(lacking, ("x", "y"), least_sites=2)
    assert {(each.site, each.number) for each in kept} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    assert len(kept) == 8


# -- kept things --------------------------------------------------------------------------------


def test_visits_come_back_from_a_file_as_they_were_and_a_cut_line_does_not_count(
    tmp_path: Path,
) -> None:
    lines = tmp_path / "visits.jsonl"
    store.append(lines, visit(size=7, first=1.5, ready=1.25))
    with lines.open("a") as file:
        file.write('{"case": "x2", "si')
    (back,) = store.read(lines)
    store.pack(tmp_path / "visits.xz", [back])
    for each in (back, *store.unpack(tmp_path / "visits.xz")):
        assert (each.key, each.size, each.first, each.ready) == (("x2", "a", 0), 7, 1.5, 1.25)
        assert each.trace.times == pytest.approx([0.0, 0.1, 3.0, 3.1])
        assert each.trace.cells.tolist() == [2, -1, -30, -30]


def test_at_least_fifty_sites_each_of_a_listed_package() -> None:
    names = {package.name for package in packages()}
    assert len({site.url for site in sites()}) >= 50
    assert {site.package for site in sites()} <= names
    assert all(len(package.sha256) == 64 for package in packages())


def test_a_site_serves_nothing_outside_its_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "page.html").write_text("page")
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to("../secret")
    (root / "alias").symlink_to("page.html")
    assert find(root, "/page.html?x=1") == find(root, "/alias") == root / "page.html"
    for target in ("/../secret", "/out", "/%2e%2e/secret", "/none", "/", "/page.html%00"):
        assert find(root, target) is None
