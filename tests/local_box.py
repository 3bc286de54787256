"""A whole box without Tor, for tests: real sandboxes, a real door on a unix socket, a real egress."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from bento.box.beside import RelayFacts
from bento.box.conclaves import Conclaves
from bento.box.config import (
    Admission,
    Capacity,
    CircuitEntrance,
    Conclave,
    Config,
    Egress,
    Entrance,
    Jail,
    Tor,
)
from bento.box.door import Door
from bento.box.entrance import Entrance as Listener
from bento.box.functions_tor import FunctionsTor
from bento.box.guard import Guard
from bento.box.identity import load_or_create
from bento.box.instances import Instances
from bento.box.journal import Journal
from bento.box.ledger import JournalLedger
from bento.box.offer import make_offer
from bento.box.operator_door import OperatorDoor
from bento.box.orders import Orders
from bento.box.sandboxes import Sandboxes
from bento.box.tokens import Tokens
from bento.box.turnstile import Turnstile
from bento.box.uplink import Uplink
from bento.box.visits import Visits
from bento.client.box import Box, BoxName
from bento.client.route import UnixRoute
from bento.sandbox.layers import UNPRIVILEGED
from bento.tor.exit_policy import ExitPolicy

DIRECT = Egress(via="direct", test_web="127.80.0.0/16")
EXIT_POLICY = "accept 127.80.0.0/16:*\nreject *:*\nreject6 *:*"


class LocalBox:
    """`box` is a client's handle; the rest is the box's own machinery."""

    def __init__(self, config: Config, neighbours=None) -> None:
        self.config = config
        self.identity = load_or_create(config.state)
        self.functions = FunctionsTor(config)
        self.guard = Guard(config, self.functions, neighbours)
        self.guard.update(RelayFacts(ExitPolicy.parse(EXIT_POLICY), frozenset()))
        self.sandboxes = Sandboxes(config)
        self.ahead = 0.0  # seconds the box's clock runs before this machine's, for tokens

    def clock(self) -> float:
        return time.time() + self.ahead

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        stack.push_async_callback(self.functions.close)
        await self.functions.start()
        stack.callback(self.guard.close)
        stack.push_async_callback(self.sandboxes.close)
        await self.sandboxes.start()
        self.conclaves = Conclaves.of(self.config, self.identity)
        stack.push_async_callback(self.conclaves.close)
        offer = make_offer(
            self.config, self.identity, self.sandboxes.enforcement, self.conclaves.kinds
        )
        self.journal = Journal.open(self.config.state / "journal.db")
        stack.push_async_callback(self.journal.close)
        uplink = Uplink.of(self.config)
        stack.callback(uplink.close)
        tokens = Tokens(self.identity.token_key, self.identity.key_digest, self.clock)
        self.instances = Instances(
            *(self.journal, self.config.run, offer.policy.instances),
            *(self.sandboxes.take, self.guard.ways, self.conclaves),
            *(tokens, uplink),
        )
        self.visits = Visits(self.instances, tokens, JournalLedger(self.journal))
        self.instances.keep = False
        stack.push_async_callback(self.instances.close)
        self.turnstile = Turnstile.of(
            self.config, self.identity, self.instances.taken, self.instances.promised
        )
        stack.callback(self.turnstile.close)
        self.orders = Orders(self.config.state)
        self.door = Door(
            *(offer, self.instances, self.visits, self.turnstile, self.orders, self.identity)
        )
        stack.push_async_callback(self.door.close)
        self.operator = OperatorDoor("local", self.instances, self.orders, self.door)
        stack.push_async_callback(self.operator.close)
        await self.operator.open(self.config.run)
        self.path = self.config.run / "door.sock"
        stack.callback(Listener.unix(self.path, self.door.enter).close)

    def closing(self) -> None:
        """A box with conclaves is about to close. `tests/conftest.py` has a last look at its folders."""

    @property
    def box(self) -> Box:
        return Box(BoxName("local", "AB" * 20, self.identity.key_hash), UnixRoute(str(self.path)))


@contextlib.asynccontextmanager
async def local_box(
    admission=None,
    *,
    attester="none",
    egress=DIRECT,
    tor=None,
    without=UNPRIVILEGED,
    runtime="bubblewrap",
    neighbours=None,
    **capacity,
):
    """A box with the given capacity, gone without a trace afterwards; `tor` has its [tor] entries;
    `neighbours` are the boxes that its functions may use.

    Unlike a usual one it asks no price: tests come in a row, and quickly enough to count as a flood."""
    capacity = {"images": ("python",), "pool": 1, **capacity}
    # Short: a unix socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        run = Path(folder, "run")
        run.mkdir(mode=0o700)
        config = Config(
            name="local",
            state=Path(folder, "state"),
            run=run,
            tor=Tor("unix:/nowhere", **(tor or {})),
            entrance=Entrance(circuit=CircuitEntrance()),
            egress=egress,
            capacity=Capacity(**capacity),
            sandbox=Jail(runtime=runtime),
            conclave=Conclave(attester=attester),
            without=without,
            admission=admission or Admission(priced=False),
        )
        async with contextlib.AsyncExitStack() as stack:
            local = LocalBox(config, neighbours)
            await local.open(stack)
            yield local
            if attester != "none":
                local.closing()
        left = [path.name for path in run.iterdir()]
        assert left == [], f"a closed box left {left}"
