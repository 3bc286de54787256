"""Per-client speed curves as SVG, one panel a way to serve: no library is needed for lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.balancer.measures import Download

WIDTH, HEIGHT, MARGIN = 560, 220, 46


def svg(panels: Mapping[str, Sequence[Download]]) -> str:
    """All panels below one another, on the same axes."""
    until = max(d.ended for downloads in panels.values() for d in downloads)
    most = max(speed for ds in panels.values() for d in ds for _, speed in d.speeds())
    whole = [_panel(n, title, ds, until, most) for n, (title, ds) in enumerate(panels.items())]
    height = len(whole) * (HEIGHT + MARGIN)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 2 * MARGIN}" height="{height}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'{head} {style}>\n<rect width="100%" height="100%" fill="white"/>\n' + "".join(
        (*whole, "</svg>\n")
    )


def _panel(
    number: int, title: str, downloads: Sequence[Download], until: float, most: float
) -> str:
    top = number * (HEIGHT + MARGIN) + MARGIN / 2

    def place(when: float, speed: float) -> str:
        return f"{MARGIN + WIDTH * when / until:.1f},{top + HEIGHT * (1 - speed / most):.1f}"

    lines = [
        f'<polyline fill="none" stroke="hsl({360 * d.client // 13},60%,45%)" points="'
        + " ".join(place(*point) for point in d.speeds())
        + '"/>\n'
        for d in downloads
    ]
    frame = f'<rect x="{MARGIN}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    texts = [
        (MARGIN, top - 6, title),
        (2, top + 10, f"{most / 1000:.0f} KB/s"),
        (MARGIN + WIDTH - 30, top + HEIGHT + 14, f"{until:.0f} s"),
    ]
    return "".join(
        [frame, *lines, *(f'<text x="{x}" y="{y}">{text}</text>\n' for x, y, text in texts)]
    )
