"""`bentod`: what stands beside the relay and lets strangers run functions, within a policy.

It is a doorkeeper. It checks a manifest against the policy or a token against its table, takes a
sandbox, and from then on only relays bytes between the client and the guest: it must never parse what
they say to each other, keep any of it, or log who asked for what.

    config      the operator's file, strict
    identity    the box's keys
    offer       the policy a box can honestly offer on this machine
    door        one client connection, from hello to pipe
    admission   whether a manifest is within the policy, every item named
    instances   what runs: sandboxes, tokens, expiry, clean-up
    relay       bytes between two sockets, with back-pressure
    daemon      wires tor, entrances, pools and instances together; `bentod run`
"""
