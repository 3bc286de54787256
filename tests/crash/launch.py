"""`launch.py SOCKET ARG...`: a bentod under the filter of `faults`, whose listener goes to SOCKET."""

import socket
import sys

from tests.crash import faults

from bento.cli.bentod import main

if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as supervisor:
        socket.send_fds(supervisor, [b"L"], [faults.install()])
    sys.exit(main(sys.argv[2:]))
