"""What a box may write down: events of a closed table, at coarse times, and nothing else.

A log outlives the visit it tells of and is read by others than it was written for: a seized or copied
one must tell nothing of anybody. So no free text is ever logged by box, egress, sandbox, firewall or
tor: `log(Event.X, field=…)` takes an event of `events.Event` and fields of that event's types, none
of which can hold an address, a name, a token or a URL. An error is logged by its class and the
line of our own source that raised it, never by its text. What libraries log is reduced to the same
(`takeover`). After Arti's doc/dev/Safelogging.md, one step stricter.

To log something new, add a line to the table in `events.py`; `Sensitive` wraps what must not show.
"""

from bento.safelog.events import Event, Fault, Level, Library
from bento.safelog.lines import Log, log, start
from bento.safelog.sensitive import Sensitive
from bento.safelog.takeover import take_over

__all__ = ["Event", "Fault", "Level", "Library", "Log", "Sensitive", "log", "start", "take_over"]
