"""All processes of one network: started so that none waits in vain, kept running, ended.

First the authority's keys; then every tor at once, holding still; then the vote; then relays are
let go, and with them the boxes; when the relays can serve every document, the clients. Why so:
see `consensus.py`. Every process has a keeper from its start on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from bento.errors import HostError
from bento.testnet import consensus, recipes
from bento.testnet.bandwidth import level
from bento.testnet.box_files import PreparedBox, prepare
from bento.testnet.keeper import Keeper
from bento.testnet.keys import authority_line
from bento.testnet.layout import Box, Layout, Node
from bento.testnet.messages import BoxStatus, Status, Step
from bento.testnet.program import Program
from bento.testnet.publication import Publication
from bento.tor.controller import Controller
from bento.tor.process import TorProcess

_PATIENCE = 180.0
"""Seconds for a start, before it is given up: a hundred tors on two busy cores take a minute."""

_T = TypeVar("_T")


class Cluster:
    """The processes of `layout`. `report` hears what the start waits for, `on_start` of each
    process that was started: its name and id."""

    def __init__(
        self,
        layout: Layout,
        report: Callable[[Step], None],
        on_start: Callable[[str, int], None],
    ) -> None:
        self._layout = layout
        self._report = report
        self._on_start = on_start
        self._tors: dict[str, Keeper[TorProcess]] = {}
        self._programs: dict[str, Keeper[Program]] = {}
        self._prepared: dict[str, PreparedBox] = {}
        self._authority_line = ""
        self._held = True
        self._ready = False
        self._step = Step("nothing", 0, 0)

    async def start(self) -> None:
        """Return when the network is usable. Raises the `BentoError` of what went wrong."""
        try:
            async with asyncio.timeout(_PATIENCE), contextlib.AsyncExitStack() as controls:
                await self._start(controls)
        except TimeoutError:
            raise HostError(
                f"the test network was not usable after {_PATIENCE:g} s:"
                f" {self._step.done} of {self._step.total} {self._step.what}",
                "look at the logs in its folder; the machine may be too busy",
            ) from None
        self._ready = True

    async def stop(self) -> None:
        """End every process: boxes first, while their tors can still hear them."""
        self._ready = False
        await asyncio.gather(*(keeper.stop() for keeper in self._programs.values()))
        await asyncio.gather(*(keeper.stop() for keeper in self._tors.values()))
        self._programs.clear()
        self._tors.clear()

    def status(self) -> Status:
        """The state of this moment."""
        alive = [*(tor.pid for tor in self._tors.values())]
        alive += [program.pid for program in self._programs.values()]
        return Status(
            ready=self._ready and all(alive),
            socks=self._layout.client.socks_endpoint,
            boxes=tuple(self._box_status(box) for box in self._layout.boxes),
        )

    # -- the start, step by step -------------------------------------------------------------

    async def _start(self, controls: contextlib.AsyncExitStack) -> None:
        layout = self._layout
        with self._counting("the authority's keys", 1) as count:
            empty, resolv_conf = layout.data / "empty", layout.resolv_conf
            empty.write_text("")
            resolv_conf.write_text(f"nameserver {layout.resolver}\n")
            self._authority_line = await authority_line(layout.authority, empty)
            count()
        for box in layout.boxes:
            self._prepared[box.name] = prepare(box, layout.emulated)
        for node in layout.servers:
            level(node.data)
        if layout.delayed:
            await self._keep_program("forwarder", lambda: recipes.forwarder(layout))
        nodes = [*layout.servers, *layout.clients]
        with self._counting("tor processes", len(nodes)) as count:
            await _together(self._start_tor(node, count) for node in nodes)
        control = {node.name: await self._control(node, controls) for node in nodes}
        await self._agree(control)
        self._held = False
        await _together(
            control[node.name].reset_conf(*consensus.HELD_RELAY) for node in _relays(layout)
        )
        await _together([self._start_boxes(control), self._start_using(control)])

    async def _start_tor(self, node: Node, count: Callable[[], None]) -> None:
        keeper = Keeper(lambda: self._tor(node), self._on_start)
        self._tors[node.name] = keeper
        await keeper.start()
        count()

    async def _control(self, node: Node, controls: contextlib.AsyncExitStack) -> Controller:
        control = await controls.enter_async_context(
            await Controller.connect(node.control_endpoint)
        )
        await control.authenticate()
        return control

    async def _agree(self, control: dict[str, Controller]) -> None:
        authority = control[self._layout.authority.name]
        names = [node.name for node in self._layout.servers]
        if await consensus.is_agreed(authority, names):
            return
        what = "relays known to the authority"
        await consensus.all_published(
            authority, names, lambda known: self._tell(Step(what, known, len(names)))
        )
        with self._counting("a new consensus", 1) as count:
            await consensus.vote(authority, names)
            count()

    async def _start_boxes(self, control: dict[str, Controller]) -> None:
        """Start each `bentod`; a box is there when both its entrances can be found."""
        boxes = self._layout.boxes
        with self._counting("boxes", len(boxes)) as count:

            async def start(box: Box) -> None:
                publication = Publication(self._prepared[box.name].onion)
                await publication.listen(control[box.name])
                await self._keep_program(f"{box.name}-bentod", lambda: recipes.bentod(box))
                await publication.done()
                count()

            await _together(start(box) for box in boxes)

    async def _start_using(self, control: dict[str, Controller]) -> None:
        """The caches, then the clients, which ask them."""
        layout = self._layout
        names = [node.name for node in layout.servers]
        current = await consensus.date(control[layout.authority.name])
        with self._counting("directory caches", len(names)) as count:

            async def cached(relay: Controller) -> None:
                await consensus.served(relay, current, names)
                count()

            await _together(cached(control[name]) for name in names)
        with self._counting("clients", len(layout.clients)) as count:

            async def usable(node: Node) -> None:
                await control[node.name].reset_conf(*consensus.HELD_CLIENT)
                process = self._tors[node.name].child
                if process is not None:
                    await process.bootstrapped()
                await consensus.live(control[node.name])
                count()

            await _together(usable(node) for node in layout.clients)

    # -- small things ------------------------------------------------------------------------

    def _tor(self, node: Node) -> TorProcess:
        prepared = self._prepared.get(node.name)
        return recipes.tor(
            self._layout,
            node,
            authority_line=self._authority_line,
            contact=prepared.contact if prepared else "",
            held=self._held,
        )

    async def _keep_program(self, name: str, make: Callable[[], Program]) -> None:
        keeper = Keeper(make, self._on_start)
        self._programs[name] = keeper
        await keeper.start()

    def _box_status(self, box: Box) -> BoxStatus:
        prepared = self._prepared.get(box.name)
        tor = self._tors.get(box.name)
        bentod = self._programs.get(f"{box.name}-bentod")
        return BoxStatus(
            name=box.name,
            fingerprint=_fingerprint(box.relay),
            onion=prepared.onion if prepared else "",
            bentod_pid=bentod.pid if bentod else None,
            tor_pid=tor.pid if tor else None,
        )

    @contextlib.contextmanager
    def _counting(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Gives a function to call when one more of `total` is there."""
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            self._tell(Step(what, done, total))

        if total:
            self._tell(Step(what, 0, total))
        yield count

    def _tell(self, step: Step) -> None:
        if step != self._step:
            self._step = step
            self._report(step)


def _relays(layout: Layout) -> tuple[Node, ...]:
    """The servers that were told to hold still."""
    return layout.servers[1:]


def _fingerprint(relay: Node) -> str:
    """As tor writes it beside its keys; empty before it has any."""
    try:
        return (relay.data / "fingerprint").read_text().split()[1]
    except (OSError, IndexError):
        return ""


async def _together(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run all at once; the first error ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
