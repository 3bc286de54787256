"""An installed function, as its installer or the holder of a ticket has it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bento.client.session import proof
from bento.errors import BoxError
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.session import Invoke
from bento.protocol.values import encode_values
from bento.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.client.box import Box
    from bento.client.conclave import Enclosed
    from bento.client.session import Session
    from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket

    Log = Callable[[str], None]

NOBODY = bytes(limits.OWNER)
"""The owner whom a client names that installed nothing."""


@dataclass
class Instance:
    """An installed function. `shutdown_ticket`, `expires` and `owner` are its installer's."""

    box: Box = field(repr=False)
    ticket: Ticket
    shutdown_ticket: ShutdownTicket | None = None
    expires: int = 0
    owner: bytes = field(default=NOBODY, repr=False)
    enclosed: Enclosed | None = None

    def session_name(self) -> SessionTicket:
        """A name for a new session: 128 random bits beside the ticket."""
        return self.ticket.session(secrets.token_bytes(limits.SESSION_ID), self.owner)

    async def invoke(
        self, *args: Any, text: bool = False, on_log: Log | None = None, **kwargs: Any
    ) -> Session:
        """Starts `main(api, *args, **kwargs)`: one round trip to the first byte of its answer.

        With `text`, strings are converted to what main's annotations ask for."""
        name = self.session_name()
        arguments = encode_values([list(args), kwargs])
        follow = encode(Invoke(name.session, arguments, text, proof(self.owner)))
        return await self.box.session(
            self.ticket.token, name, follow, fresh=True, on_log=on_log, enclosed=self.enclosed
        )

    def learn(self, token: bytes) -> None:
        """A conclave granted its owner this token: the ticket can be given away now."""
        self.ticket = replace(self.ticket, inner=Capability.parse(token))

    async def shutdown(self) -> None:
        """Ends the instance. Raises BoxError for somebody who did not install it."""
        if self.shutdown_ticket is None:
            raise BoxError("this ticket cannot end the instance", "its shutdown token can")
        await self.box.shutdown(self.shutdown_ticket)
