"""Web servers for end-to-end tests, on the loopback range that plays the web."""

from __future__ import annotations

import contextlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

ADDRESS = "127.80.2.1"


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, bytes]
    visits: list[tuple[str, str]]

    def do_GET(self):
        self.visits.append((self.client_address[0], self.path))
        body = self.pages.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def web_site(pages):
    """Yields (its address, the list of (client address, path) it fills)."""
    visits = []
    handler = type("Handler", (_Handler,), {"pages": pages, "visits": visits})
    server = ThreadingHTTPServer((ADDRESS, 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_address[1]}", visits
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
