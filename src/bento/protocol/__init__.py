"""What client, box and guest say to each other, with no socket, clock or randomness inside.

Bytes go in, messages come out; messages go in, bytes come out. The I/O lives with the callers.
Nothing here may block, look at the time, make a random number or trust a length.

    wire      field kinds, messages, frames: bytes <-> messages, every limit named
    limits    the limits, each with unit and reason
    values    the arguments of a function call as bytes
    door      client <-> box: hello, create, open, shutdown; then the box only relays
    session   client <-> guest: load, invoke, attach, and two resumable byte streams
    control   box <-> guest: ready, start
    manifest  what a function asks for, read from its own source
    policy    what a box offers, signed; what of a manifest is not within it
    capability  a token: minted, narrowed by anybody offline, checked by its maker
    caveats   the conditions a token can carry, and whether a request is within them
    ticket    one printable line that holds all that is needed to use an instance

`wire`, `limits`, `values`, `session` and `control` also run inside the sandbox, where every import
costs start-up time: those five import nothing but each other, `struct` and the error tree. `capability`
and `caveats` need `hmac` as well: the guest of a conclave may check tokens itself.
"""
