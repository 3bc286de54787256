"""Around the egress proxy, or through it to where it must not lead.

Nothing here is ever sent: outside loopback there is no route inside, and what the proxy refuses it
refuses before it dials.
"""

from __future__ import annotations

from tests.hostile.attack import Attack

_EGRESS = 'egress = ["*:*"]'


def _through_proxy(*hosts: str) -> str:
    """Asks the proxy itself, in SOCKS5, for each host; the codes of its replies."""
    return f"""
        def attack(api, facts):
            import _socket
            def ask(host, port):
                proxy = _socket.socket()
                proxy.settimeout(60)
                proxy.connect(("127.0.0.1", 1080))
                proxy.send(b"\\x05\\x01\\x00")
                proxy.recv(2)
                name = host.encode()
                proxy.send(b"\\x05\\x01\\x00\\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
                answer = proxy.recv(2)
                proxy.close()
                return answer[1] if len(answer) > 1 else 9
            return " ".join(str(ask(host, facts["port"])) for host in {hosts!r})
    """


_REFUSED = r"[1-9]( [1-9])*"

ATTACKS = (
    Attack(
        "the machine's own loopback",
        "network namespace",
        r"ECONNREFUSED ECONNREFUSED ECONNREFUSED",
        """
        def attack(api, facts):
            import _socket
            return " ".join(attempt(_socket.socket().connect, ("127.0.0.1", port)) for port in (facts["port"], 9051, 9050))
        """,
    ),
    Attack(
        "unix sockets without a file",
        "network namespace",
        "ECONNREFUSED",
        """
        def attack(api, facts):
            import _socket
            return attempt(_socket.socket(1, 1).connect, "\\0" + facts["abstract"])
        """,
    ),
    Attack(
        "the box's door by its file",
        "mount namespace",
        "ENOENT ENOENT",
        """
        def attack(api, facts):
            import _socket
            paths = (facts["run"] + "/door.sock", "/run/tor/control")
            return " ".join(attempt(_socket.socket(1, 1).connect, path) for path in paths)
        """,
    ),
    Attack(
        "TCP without the proxy",
        "network namespace: no route",
        "ENETUNREACH ENETUNREACH",
        """
        def attack(api, facts):
            import _socket
            return " ".join([attempt(_socket.socket().connect, ("192.0.2.1", 80)),
                             attempt(_socket.socket(10, 1).connect, ("2001:db8::1", 80))])
        """,
        runtimes={
            "runsc": "(ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL)( ENETUNREACH| EHOSTUNREACH| EADDRNOTAVAIL)"
        },
    ),
    Attack(
        "UDP without the proxy",
        "network namespace: no route",
        "ENETUNREACH",
        """
        def attack(api, facts):
            import _socket
            one = _socket.socket(2, 2)
            return attempt(one.sendto, b"x", ("192.0.2.1", 53))
        """,
        runtimes={"runsc": "ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL"},
    ),
    Attack(
        "multicast and broadcast",
        "network namespace: no route",
        "(ENETUNREACH|EACCES|EPERM|ENODEV|EINVAL)( ENETUNREACH| EACCES| EPERM| ENODEV| EINVAL)*",
        """
        def attack(api, facts):
            import _socket
            one = _socket.socket(2, 2)
            one.setsockopt(1, 6, 1)
            found = [attempt(one.sendto, b"x", (to, 5353)) for to in ("224.0.0.251", "255.255.255.255")]
            return " ".join(found)
        """,
        runtimes={
            "runsc": "(ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EACCES)( ENETUNREACH| EHOSTUNREACH| EADDRNOTAVAIL| EACCES)*"
        },
    ),
    Attack(
        "raw packets and ping",
        "seccomp, no capabilities",
        "EPERM",
        """
        def attack(api, facts):
            import _socket
            kinds = ((2, 3, 1), (2, 3, 255), (2, 2, 1), (10, 3, 58), (17, 3, 768), (17, 2, 0))
            return " ".join(sorted({attempt(_socket.socket, *kind) for kind in kinds}))
        """,
    ),
    Attack(
        "sockets of the hypervisor (vsock)",
        "seccomp",
        "EPERM",
        "def attack(api, facts): import _socket; return attempt(_socket.socket, 40, 1, 0)",
    ),
    Attack(
        "sockets of the kernel (netlink, crypto, tunnels)",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            import _socket
            families = [f for f in range(46) if f not in (1, 2, 10)]
            return " ".join(sorted({attempt(_socket.socket, f, 1, 0) for f in families}))
        """,
    ),
    Attack(
        "loopback through the proxy",
        "egress verdict",
        _REFUSED,
        _through_proxy("127.0.0.1", "127.1.2.3", "localhost", "::1", "0.0.0.0", "::"),
        _EGRESS,
    ),
    Attack(
        "loopback in disguise",
        "egress verdict",
        _REFUSED,
        _through_proxy(
            *(
                "::ffff:127.0.0.1",
                "::ffff:7f00:1",
                "64:ff9b::7f00:1",
                "2002:7f00:1::",
                "2130706433",
            ),
            *("0x7f000001", "0177.0.0.1", "127.1", "localhost."),
        ),
        _EGRESS,
    ),
    Attack(
        "private networks and the cloud's metadata",
        "egress verdict",
        _REFUSED,
        _through_proxy(
            *("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "fe80::1"),
            *("fd00::1", "fd00:ec2::254", "224.0.0.1", "255.255.255.255", "192.0.2.77"),
        ),
        _EGRESS,
    ),
    Attack(
        "what the relay's exit policy refuses",
        "egress verdict (tor's own)",
        _REFUSED,
        _through_proxy("192.0.2.1", "198.51.100.7", "2001:db8::1"),
        _EGRESS,
    ),
    Attack(
        "the web without asking for it in the manifest",
        "egress verdict (manifest)",
        _REFUSED,
        _through_proxy("127.80.2.1", "127.80.2.2"),
    ),
    Attack(
        "a relay's ORPort without the permission",
        "egress verdict (manifest)",
        "EPERM EPERM",
        """
        def attack(api, facts):
            import socket
            place = (facts["relay"], facts["or_port"])
            return " ".join([attempt(socket.create_connection, place),
                             attempt(socket.create_connection, ("::ffff:" + place[0], place[1]))])
        """,
        _EGRESS,
    ),
    Attack(
        "anything but ORPorts with the permission for relays",
        "egress verdict",
        "ECONNREFUSED( EPERM){8}",
        """
        def attack(api, facts):
            import socket
            relay, port = facts["relay"], facts["or_port"]
            places = [(relay, port), (relay, port + 1), ("127.94.0.2", port),
                      ("127.80.2.1", facts["web_port"]), ("10.0.0.1", 443), ("fe80::1", 443),
                      ("192.0.2.1", 443), ("2001:db8::1", port), ("relay.test", port)]
            return " ".join(attempt(socket.create_connection, place) for place in places)
        """,
        "relays = true",
    ),
    Attack(
        "the machine's own ports by a consensus that lists them",
        "egress verdict (internal addresses)",
        _REFUSED,
        """
        def attack(api, facts):
            import _socket
            proxy = _socket.socket()
            proxy.connect(("127.0.0.1", 1080))
            proxy.send(b"\\x05\\x01\\x00")
            proxy.recv(2)
            proxy.send(b"\\x05\\x01\\x00\\x01" + bytes([127, 0, 0, 1]) + facts["port"].to_bytes(2, "big"))
            return str(proxy.recv(2)[1])
        """,
        "relays = true",
    ),
    Attack(
        "listening for others (SOCKS BIND), datagrams (UDP ASSOCIATE)",
        "strict SOCKS",
        "7 7 7",
        """
        def attack(api, facts):
            import _socket
            found = []
            for command in (2, 3, 0xF0):
                proxy = _socket.socket()
                proxy.connect(("127.0.0.1", 1080))
                proxy.send(b"\\x05\\x01\\x00")
                proxy.recv(2)
                proxy.send(bytes([5, command, 0, 1, 127, 80, 2, 1, 0, 80]))
                found.append(str(proxy.recv(2)[1]))
                proxy.close()
            return " ".join(found)
        """,
        _EGRESS,
    ),
    Attack(
        "nonsense to the proxy",
        "strict SOCKS",
        "closed",
        """
        def attack(api, facts):
            import _socket
            for junk in (b"\\xff" * 600, b"\\x04\\x01\\0\\x50\\x7f\\0\\0\\1\\0", b"\\x05\\0", b"GET / HTTP/1.1\\r\\n\\r\\n",
                         b"\\x05\\x01\\x00\\x05\\x01\\x00\\x03\\xff" + b"a" * 255 + b"\\0\\x50"):
                proxy = _socket.socket()
                proxy.settimeout(30)
                proxy.connect(("127.0.0.1", 1080))
                proxy.send(junk)
                try:
                    while proxy.recv(100):
                        pass
                except OSError:
                    pass
                proxy.close()
            return "closed"
        """,
        _EGRESS,
    ),
    Attack(
        "a hundred slow strangers at the proxy (slow-loris)",
        "bounded handshakes of its own",
        r"\d+ opened",
        """
        def attack(api, facts):
            import _socket
            keep = []
            for _ in range(100):
                one = _socket.socket()
                one.setblocking(False)
                attempt(one.connect, ("127.0.0.1", 1080))
                attempt(one.send, b"\\x05")
                keep.append(one)
            time.sleep(0.5)
            return f"{len(keep)} opened"
        """,
        _EGRESS,
        heavy=True,
    ),
    Attack(
        "thousands of short connections to the proxy",
        "connection rate of the egress",
        r"\d+ made",
        """
        def attack(api, facts):
            import _socket
            made, until = 0, time.monotonic() + 1
            while time.monotonic() < until:
                one = _socket.socket()
                one.settimeout(0.05)
                if attempt(one.connect, ("127.0.0.1", 1080)) == "DONE":
                    made += 1
                one.close()
            return f"{made} made"
        """,
        _EGRESS,
        heavy=True,
    ),
    Attack(
        "a flood against one host of the web",
        "destination limits of the egress",
        "held back",
        """
        def attack(api, facts):
            import _socket
            made, until = 0, time.monotonic() + 2
            while time.monotonic() < until:
                one = _socket.socket()
                one.settimeout(0.3)
                try:
                    one.connect(("127.0.0.1", 1080))
                    one.send(b"\\x05\\x01\\x00")
                    one.recv(2)
                    one.send(b"\\x05\\x01\\x00\\x01" + bytes([127, 80, 2, 1]) + facts["web_port"].to_bytes(2, "big"))
                    made += one.recv(10)[1] == 0
                except (OSError, IndexError):
                    pass
                one.close()
            return "held back" if made <= 80 else f"{made} connections in 2 seconds"
        """,
        _EGRESS,
        heavy=True,
    ),
    Attack(
        "a name of the web that leads inside (DNS rebinding)",
        "egress verdict after the look-up",
        "[1-9] [1-9] [1-9]",
        _through_proxy("inside.test", "metadata.test", "mapped.test"),
        _EGRESS,
    ),
    Attack(
        "names that are no names",
        "strict names, no look-up",
        _REFUSED,
        _through_proxy("a" * 64 + ".test", "a..b", "-", "a b", "x" * 255, "a\\0b", "_", "%31"),
        _EGRESS,
    ),
    Attack(
        "the listener of another function",
        "network namespace",
        "ECONNREFUSED ECONNREFUSED",
        """
        def attack(api, facts):
            import _socket
            return " ".join([attempt(_socket.socket().connect, ("127.0.0.1", facts["neighbours_port"])),
                             attempt(_socket.socket(1, 1).connect, "\\0neighbour")])
        """,
    ),
)
