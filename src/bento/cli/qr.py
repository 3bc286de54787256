"""A ticket as a QR code on the terminal, for a telephone to read.

Two rows of the code to one of the terminal, black on white whatever the terminal's own colours are. The
line is written in capitals, which a QR code packs three bits tighter; tickets are read in either case.
"""

from __future__ import annotations

import sys
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_BORDER = 4  # light cells around it, ISO/IEC 18004
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
_BLACK_ON_WHITE, _PLAIN = "\x1b[30;107m", "\x1b[0m"


def qr_argument(parser: argparse.ArgumentParser) -> None:
    """`--qr`, for the commands that show a ticket."""
    parser.add_argument("--qr", action="store_true", help="show the ticket as a QR code too")


def rows(text: str) -> list[str]:
    """The code of `text` (a line of base32) as rows of half blocks, uncoloured."""
    import segno

    code = segno.make(text.upper(), mode="alphanumeric", error="l", micro=False)
    cells = [tuple(map(bool, row)) for row in code.matrix_iter(border=_BORDER)]
    light = (False,) * len(cells[0])
    pairs = zip_longest(cells[::2], cells[1::2], fillvalue=light)
    return ["".join(_HALVES[halves] for halves in zip(*pair, strict=True)) for pair in pairs]


def show(text: str) -> None:
    """Draws it for a person: on stderr, as stdout is for the line itself. Its colours are the only escape
    sequences a terminal gets, and no byte of a row is anybody's words."""
    drawn = "\n".join(_BLACK_ON_WHITE + row + _PLAIN for row in rows(text))
    print(drawn, file=sys.stderr, flush=True)
