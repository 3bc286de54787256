"""`make bench [ONLY=P1]`: each figure as one JSON line, beside its reference measured in the same run.

A file `pN_*.py` or `rN_*.py` here measures figure PN or RN: its `measure()` yields Figures. Times on a
shared machine drift, so a figure and its reference are taken in turns and compared by medians.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    only = sys.argv[1].upper() if len(sys.argv) > 1 else ""
    for path in sorted(Path(__file__).parent.glob("[pr][0-9]*_*.py")):
        if only and path.stem.split("_")[0].upper() != only:
            continue
        module = importlib.import_module(f"benchmarks.{path.stem}")
        for figure in module.measure():
            print(json.dumps(figure.line(), separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main()
