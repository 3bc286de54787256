"""LoadBalancer: one onion address over as many machines as its visitors need.

Why: an onion service is one tor on one machine. Here a front holds the address and the introduction
points, looks at each visitor that comes and sends it to a replica; replicas on other boxes join the
visitor themselves, are started as load grows and ended as it falls.

Must never: give a replica a long-term key, let the front read a stream, cut a visitor's open stream to
save a machine, or forget a visitor that can still be served.

    fleet.py    who goes where, how many replicas there are     (pure)
    places.py   how many visitors a replica has room for        (pure)
    choice.py   ways to pick among replicas with room           (pure)

This file goes into the function's upload too, so it imports nothing.
"""
