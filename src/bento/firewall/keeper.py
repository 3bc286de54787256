"""Who attaches the streams that no function waits for. Pure: events in, commands out.

The functions' tor runs with `__LeaveStreamsUnattached 1`, for tor knows that option for everybody
or for nobody. So that it means something for the one function that set it only, the keeper gives
every stream of anybody else to tor at once, just as tor would have done by itself.
"""

from __future__ import annotations

from bento.firewall import commands as c
from bento.firewall.limits import ATTACH_TRIES
from bento.tor.control_codec import Event

_MAX_WAITING = 4096
_TIMEOUT = 7  # control-spec §4.1.2, END_STREAM_REASON_TIMEOUT


class Keeper:
    """Knows which functions hold their streams; answers STREAM events with commands."""

    def __init__(self) -> None:
        self._holders: set[str] = set()
        self._tries: dict[str, int] = {}

    def hold(self, key: str, held: bool) -> None:
        """The function with this isolation key attaches its streams itself from now on, or not."""
        if held:
            self._holders.add(key)
        else:
            self._holders.discard(key)

    def event(self, event: Event) -> list[str]:
        """The commands, as lines, for one event of tor."""
        if event.keyword != "STREAM" or len(event.positional) != 4:
            return []
        stream, status = event.positional[:2]
        if status == "CLOSED":
            self._tries.pop(stream, None)
        # Not NEW: tor's own directory streams have that too, and would break if attached.
        # After a DETACHED, tor says CONTROLLER_WAIT again.
        if status != "CONTROLLER_WAIT" or not stream.isdigit():
            return []
        if event.keywords.get("SOCKS_USERNAME", "").partition(".")[0] in self._holders:
            return []
        tries = self._tries.get(stream, 0) + 1
        self._remember(stream, tries)
        if tries > ATTACH_TRIES:
            return [c.CloseStream(int(stream), _TIMEOUT).line()]
        return [c.AttachStream(int(stream), 0).line()]

    def _remember(self, stream: str, tries: int) -> None:
        if len(self._tries) >= _MAX_WAITING:
            self._tries.clear()
        self._tries[stream] = tries
