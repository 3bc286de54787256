"""Why there is no page: Chromium's and the proxy's error names, turned into plain sentences.

Standard library only; no I/O but `ask_proxy`, which asks the sandbox's egress the one question that
Chromium does not pass on: with which SOCKS reply it refused.
"""

import _socket
import contextlib
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

from .pack import Failure, plain

PROXY_HOST, PROXY_PORT = "127.0.0.1", 1080
"""The egress listener inside the sandbox's own network namespace: the only way out."""

PROXY = f"socks5://{PROXY_HOST}:{PROXY_PORT}"

ASK_SECONDS = 10.0

SOCKS_REPLIES = {  # RFC 1928, section 6
    0: Failure("connection", "the connection broke, but can be made now: try again"),
    1: Failure("network", "the box could not connect to this server"),
    2: Failure("policy", "the box's exit policy, or the function's manifest, refuses this address"),
    3: Failure("unreachable", "the network of this server cannot be reached from the box"),
    4: Failure("name", "this host's name is not known, or it cannot be reached from the box"),
    5: Failure("refused", "the server refused the connection"),
    6: Failure("timeout", "the server did not answer the connection"),
}
NO_PROXY = Failure("network", "the sandbox has no way to the network")

BAD_REDIRECT = Failure("redirects", "the server redirects to an address that cannot be opened")

NET_ERRORS: dict[str, Failure] = {
    "TOO_MANY_REDIRECTS": Failure("redirects", "the server keeps sending the browser elsewhere"),
    "CERT_": Failure("certificate", "the server's certificate is not valid for this address"),
    "SSL_": Failure("certificate", "the server and the browser agree on no secure connection"),
    "CONNECTION_TIMED_OUT": SOCKS_REPLIES[6],
    "TIMED_OUT": Failure("timeout", "the server did not answer in time"),
    "EMPTY_RESPONSE": Failure("empty", "the server closed the connection without an answer"),
    "ABORTED": Failure("empty", "the server's answer holds no page"),
    "HTTP_RESPONSE_CODE_FAILURE": Failure("http", "the server's answer is an error without a page"),
    "UNSAFE_PORT": Failure("address", "browsers refuse to use this port"),
    "INVALID_URL": Failure("address", "this is no address that a browser can open"),
    "INVALID_REDIRECT": BAD_REDIRECT,
    "UNSAFE_REDIRECT": BAD_REDIRECT,
    "UNKNOWN_URL_SCHEME": BAD_REDIRECT,
    "INVALID_HTTP_RESPONSE": Failure("server", "the server's answer is not HTTP"),
    "RESPONSE_HEADERS_TOO_BIG": Failure("server", "the server's answer has too large headers"),
    "BLOCKED_BY_CLIENT": Failure("address", "only http and https addresses can be fetched"),
}
"""Chromium's net error, without net::ERR_, or how it begins."""

SOCKS_ERRORS = ("SOCKS_CONNECTION", "PROXY_CONNECTION", "TUNNEL_CONNECTION")


def explain(error: str, url: str, ask: Callable[[str], Failure]) -> Failure:
    """The failure behind Chromium's `error` (net::ERR_...) for the page at `url`."""
    name = error.removeprefix("net::ERR_")
    if name.startswith(SOCKS_ERRORS):
        return ask(url)
    for known, failure in NET_ERRORS.items():
        if name.startswith(known):
            return failure
    return Failure("network", plain(f"the page could not be loaded ({error})"))


def ask_proxy(url: str) -> Failure:
    """Connects to the server of `url` once more, by hand, for the SOCKS reply's code."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("ascii", "replace")
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    request = b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes([len(host) & 0xFF]) + host[:255]
    # The plain socket module may be routed through this very proxy by the guest runtime.
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    with contextlib.closing(connection):
        try:
            connection.settimeout(ASK_SECONDS)
            connection.connect((PROXY_HOST, PROXY_PORT))
            connection.send(request + struct.pack(">H", port))
            answer = b""
            while len(answer) < 4 and (data := connection.recv(16)):
                answer += data
        except OSError:
            return NO_PROXY
    return SOCKS_REPLIES.get(answer[3], SOCKS_REPLIES[1]) if len(answer) > 3 else NO_PROXY
