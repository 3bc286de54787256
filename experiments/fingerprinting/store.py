"""Visits on disk: one JSON object a line, appended as they are made, so that a run can go on where it was
cut; and all of a run in one small file, times to the millisecond."""

from __future__ import annotations

import base64
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.fingerprinting.cells import Trace


@dataclass(frozen=True)
class Visit:
    case: str
    site: str
    number: int
    trace: Trace
    size: int = 0
    """Bytes of the answer; 0 where there is no single one."""
    first: float = 0.0
    """Seconds from the visit's beginning to the answer's first byte."""
    ready: float = 0.0
    """Seconds from the call to when the answer was ready, as Browser took them on this visit."""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.case, self.site, self.number


def append(path: Path, visit: Visit) -> None:
    with path.open("a") as file:
        file.write(json.dumps(_plain(visit, 1e6)) + "\n")


def read(path: Path) -> list[Visit]:
    """All whole visits of a file; a line that was cut by a crash does not count."""
    return list(_visits(path.read_text().splitlines(), 1e6)) if path.exists() else []


def pack(path: Path, visits: Iterable[Visit]) -> None:
    """All visits as one compressed file."""
    lines = "".join(json.dumps(_plain(visit, 1e3)) + "\n" for visit in visits)
    path.write_bytes(lzma.compress(lines.encode(), preset=9))


def unpack(path: Path) -> list[Visit]:
    return list(_visits(lzma.decompress(path.read_bytes()).decode().splitlines(), 1e3))


def _plain(visit: Visit, scale: float) -> dict[str, object]:
    ticks = np.round(visit.trace.times * scale).astype(np.int64)
    return {
        "case": visit.case,
        "site": visit.site,
        "visit": visit.number,
        "size": visit.size,
        "first": round(visit.first, 4),
        "ready": round(visit.ready, 4),
        "times": _text(np.diff(ticks, prepend=0).astype(np.int32)),
        "cells": _text(visit.trace.cells.astype(np.int16)),
    }


def _visits(lines: Iterable[str], scale: float) -> Iterator[Visit]:
    for line in lines:
        try:
            plain = json.loads(line)
        except ValueError:
            continue
        times = np.cumsum(_array(plain["times"], np.int32)) / scale
        yield Visit(
            plain["case"],
            plain["site"],
            plain["visit"],
            Trace(times, _array(plain["cells"], np.int16)),
            plain["size"],
            plain["first"],
            plain["ready"],
        )


def _text(values: NDArray[np.signedinteger[Any]]) -> str:
    return base64.b85encode(zlib.compress(values.tobytes(), 9)).decode()


def _array(text: str, kind: type[np.signedinteger[Any]]) -> NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), dtype=kind).astype(np.int64)
