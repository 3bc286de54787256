"""A conclave in a process of its own, as small as one can be: the room's guest modules, and pipes.

Run by Debian's python; arguments: our sources, the libraries, a folder for sealed files. Messages on
stdin and stdout: kind (1 byte), length (4), content. W: bytes of the channel. Q, E: report data, and
evidence about it.
"""

import struct
import sys


def put(kind, data):
    sys.stdout.buffer.write(kind + struct.pack(">I", len(data)) + data)
    sys.stdout.buffer.flush()


def take():
    head = sys.stdin.buffer.read(5)
    if len(head) < 5:
        sys.exit(0)
    return head[:1], sys.stdin.buffer.read(struct.unpack(">I", head[1:])[0])


def main(source, libraries, below):
    sys.path[:0] = [source, libraries]
    from bento.conclave.channel_guest import GuestChannel
    from bento.conclave.sealed_paths import Mount
    from bento.conclave.storage import SealedFolder
    from bento.conclave.tls import Credential

    folder = SealedFolder(below, room=0)  # so that there is something on disk to look at
    Mount(folder, "/bento-guest-data").install()
    channel = GuestChannel(Credential(), b"box", bytes(32))
    function = None
    while True:
        kind, data = take()
        if kind == b"E":
            channel.provide(data)
            payloads = []
        else:
            payloads = channel.receive(data)
        for payload in payloads:
            if function is None:
                space = {}
                exec(compile(payload, "<function>", "exec"), space)
                function = space["main"]
                channel.send(b"loaded")
            else:
                channel.send(function(payload))
        if channel.wanted is not None:
            put(b"Q", channel.wanted)
        if channel.closed:
            folder.wipe()
            channel.finish()
        put(b"W", channel.outgoing())


if __name__ == "__main__":
    main(*sys.argv[1:])
