"""A page that comes in parts, under Cover: told response by response, and shown in a window that grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bento.cli.output import say

if TYPE_CHECKING:
    from bento.functions.browser.pack import Pack


class Parts:
    """`told`: with a line for each response; `shown`: in a window too."""

    def __init__(self, *, told: bool, shown: bool) -> None:
        from bento.functions.browser.window import GrowingWindow

        self._told = told
        self.window = GrowingWindow() if shown else None

    def take(self, part: Pack) -> None:
        """The next part."""
        for exchange in part.exchanges if self._told else ():
            what = f"{len(exchange.body)} bytes" if exchange.status else exchange.error
            say(f"{exchange.status or '-'} {exchange.url}: {what}")
        if self.window is not None:
            self.window.add(part)
