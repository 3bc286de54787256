"""Cover: a stream between client and box that looks the same whether it carries anything or not.

Why: whoever watches a user's line sees when and how much is done, whatever it is. Under Cover one cell
leaves in each slot, both ways, from the beginning to the end: with what there is to send, or with junk.

Must never: work between a slot's beginning and its cell, send a second cell in a slot, make up for a
slot that was missed, or end (or begin) because there is something to send, or nothing any more.

    guest.py     the manifest, and the far end: streams to other boxes     (on the box)
    frames.py    many streams in frames of one size, as a pure machine     (both, pure)
    ends.py      the streams' sockets, moved a little in each slot         (both)
    garbage.py   Python's own work, a little in each slot                  (both)
    slots.py     when a slot begins: a timer of the kernel's               (both)
    terms.py     rate, budget and end, as people write them                (at home, pure)
    client.py    the near end: a unix socket for covered commands          (at home)

This file goes into the function's upload too, so it imports nothing.
"""
