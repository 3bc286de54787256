"""Runs user code the way a sandbox does: own network namespace, only loopback, guest.network.

Started as `/usr/bin/python3 -I -S inside.py FD NETWORK_PY`; the code comes on standard input. The
egress listener goes out through the Unix socket FD, as from a real sandbox.
"""

import sys


def unshare_network() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")


def loopback_up() -> None:
    import _socket
    import fcntl
    import struct

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    fcntl.ioctl(sock.fileno(), 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    sock.close()


def hand_over_listener(fd: int) -> None:
    import _socket
    import struct

    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 1080))
    listener.listen(128)
    way_out = _socket.socket(fileno=fd)
    way_out.sendmsg(
        [b"ready"],
        [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", listener.fileno()))],
    )
    way_out.recv(1)
    way_out.close()
    listener.close()


def main() -> None:
    fd, path = int(sys.argv[1]), sys.argv[2]
    code = sys.stdin.read()
    unshare_network()
    loopback_up()
    hand_over_listener(fd)
    for name in ("ctypes", "_socket", "fcntl", "struct"):
        sys.modules.pop(name, None)
    network = type(sys)("network")
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), network.__dict__)
    network.install(1080)
    sys.path.append("/usr/lib/python3/dist-packages")
    exec(compile(code, "function", "exec"), {"__name__": "function"})


main()
