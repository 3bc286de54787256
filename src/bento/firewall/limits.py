"""Every limit of the firewall that no manifest can raise, with its unit and its reason."""

from __future__ import annotations

MAX_LINE = 8192
"""Bytes in one command line: an ADD_ONION with sixteen client keys, the longest, has 1.5 KB."""

MAX_DATA = 64 * 1024
"""Bytes in the data of one multi-line command: more than the largest descriptor."""

MAX_DESCRIPTOR = 50_000
"""Bytes in a descriptor given to HSPOST (rend-spec-v3 §2.5: HSDirs refuse more)."""

MAX_BACKLOG = 16 * 1024
"""Bytes of commands that may wait behind one in flight before no more are read."""

MAX_UNREAD = 256 * 1024
"""Bytes a function may leave unread before its events are dropped."""

MAX_KEYS = 16
"""Keys in one GETINFO or GETCONF."""

MAX_ERROR_TEXT = 512
"""Characters of one of tor's error texts that are passed on."""

MIN_HOPS = 2
"""Relays in a circuit, least: a one-hop circuit makes its relay an open proxy."""

MAX_HOPS = 8
"""Relays in a circuit, most: the eight RELAY_EARLY cells of tor-spec §5.6."""

MAX_PORTS = 8
"""Virtual ports of one onion service."""

MAX_CLIENT_KEYS = 16
"""Client authorisation keys of one onion service."""

MAX_FETCH_SERVERS = 8
"""Directories named in one HSFETCH; each counts as a fetch."""

MAX_POST_SERVERS = 16
"""Directories named in one HSPOST, each counting as a descriptor published: eight for each of a service's two
descriptors on the public network, with room."""

SERVICE_MAX_STREAMS = 64
"""Streams on one rendezvous circuit of a function's onion service; the circuit closes beyond it."""

POW_QUEUE_RATE = 20
"""Introductions a second that the proof-of-work queue of a function's onion service releases."""

POW_QUEUE_BURST = 40
"""Introductions released at once."""

LINES_PER_SECOND = 1000
"""Commands a second; a faster function is read more slowly, never refused."""

LINES_BURST = 500
"""Commands read at once before the rate above is applied."""

BUILDS_PER_CIRCUIT = 6
"""Circuits a minute that may be launched or extended for each circuit the manifest grants."""

FETCH_WINDOW = 60.0
"""Seconds in which the events of one descriptor fetch may come; tor gives a fetch up earlier."""

MAX_GUARDS = 4
"""Guards a function is told: the one in use, and what is next when that is the target or away."""

MAX_FETCHES = 64
"""Descriptor fetches that may be waiting for their events."""

MAX_PROVED = 64
"""Onion addresses a function may prove its key for in one connection."""

ATTACH_TRIES = 5
"""Times a stream that nobody holds is given to tor before it is closed."""

CLEANUP_SECONDS = 5.0
"""Time tor gets to confirm that a dead function's circuits are closed."""
