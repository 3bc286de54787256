"""Bringing a function to its new instance, over as many connections as it takes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.client.persistence import LOST, Tries, persist
from bento.protocol import limits

if TYPE_CHECKING:
    from bento.client.door import Pipe
    from bento.client.instance import Instance
    from bento.client.upload import Upload


@dataclass(frozen=True)
class Delivery:
    """`parcel` on its way to `instance`."""

    instance: Instance
    parcel: Upload
    tries: Tries

    async def complete(self, pipe: Pipe) -> None:
        """Uploads until the function is loaded, through `pipe` first. Raises what `Upload.loaded` does."""
        try:
            await self.parcel.send(pipe)
            await self.parcel.loaded(pipe, self.instance.learn)
            return
        except LOST as error:
            await self.tries.again(error)
        finally:
            pipe.writer.close()
        await persist(self.tries, self._go_on, begun=True)

    async def _go_on(self) -> None:
        pipe = await self.resume()
        self.tries.moved()
        try:
            await self.parcel.loaded(pipe, self.instance.learn)
        finally:
            pipe.writer.close()

    async def resume(self, session: bytes = b"", follow: bytes = b"") -> Pipe:
        """Another connection, on which all of the upload and `follow` has been sent."""
        instance = self.instance
        name = session or secrets.token_bytes(limits.SESSION_ID)
        inquiry = self.parcel.inquiry
        pipe = await instance.box.open(instance.ticket.token, name, inquiry, instance.enclosed)
        try:
            return await self.parcel.resume(pipe, follow)
        except BaseException:
            pipe.writer.close()
            raise
