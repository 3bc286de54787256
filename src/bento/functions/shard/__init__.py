"""Shard: a file on many boxes, any few of which bring it back.

Why: one box may vanish, be seized, or lie. A file cut so that any `need` of `total` shards suffice outlives
them, and no box has even the whole ciphertext.

Must never: decode a byte whose hash did not hold, put two shards on boxes that fail together (unless
told to), or let a box that cheated go unnamed.

    coding.py     fragments of a stripe, and back                  (pure)
    layout.py     what a shard is made of, its hash tree           (pure)
    diversity.py  which boxes                                      (pure)
    vendors.py    whose hardware, where they are in conclaves    (pure)
    ticket.py     the line that brings a file back                 (pure)
    put.py        a file onto boxes                                (at home)
    gather.py     shards from boxes, several at once               (at home)
    client.py     a ticket back into a file; repair                (at home)

On the boxes it is Dropbox (../dropbox/guest.py) that runs.
"""
