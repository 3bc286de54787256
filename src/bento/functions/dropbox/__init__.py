"""Dropbox: a file waits on a box until it was fetched, while its sender is offline.

Why: two people who are never online together, or who must not meet, can hand over a file without a
server that both would have to trust. What the box keeps is sealed: it knows the size, when it came
and how often it went, and nothing else.

Must never: let a key or a file's name reach a box, call a transfer done before its hash was compared,
or write a byte that was not authenticated.

    guest.py      keeps bytes, gives them, ends when the rules say so       (on the box)
    transfer.py   bytes to such a box and back, resumable                   (at home)
    sealing.py    a file as sealed blocks                                   (at home, pure)
    sink.py       where a fetched file goes, checked                        (at home)
    client.py     a file to a ticket and back                               (at home)
    unfinished.py what a command that was killed needs to go on             (at home)
"""
