"""The trusted half inside the sandbox: a small runtime, and the API a function sees.

It starts before the function, opens the egress listener in its own network namespace, takes the
upload, checks its hash, runs `main(api, …)` once a session, and keeps each session's bytes until its
client has them. It holds no secret of the box: whatever a function does to it, it does to itself.

It must never import what a bare interpreter has not got loaded already (each import is paid by every
start), so the modules below use `_socket`, `select`, `_thread` and `struct`, until the function itself
asks for more.

    boot        finds the modules below inside the injected blob
    runtime     the loop: accepts connections, moves bytes
    connection  one control or session connection
    session     one invocation: its thread, its two streams
    function    the upload: received, verified, called
    api         what `main` gets
    network     routes the function's plain sockets to the egress listener: the import hook
    chromium    the Chromium that starts with an instance of the image `browser`
    names, dial, loops   what it puts into `socket` and `asyncio` when the function imports them
    blob        (host side) builds the blob out of all of these
"""
