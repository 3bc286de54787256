"""Serves every site at its own loopback address, as an ordinary web server would: HTTP/1.1 with
connections kept, text compressed, nothing outside a site's own root."""

from __future__ import annotations

import contextlib
import gzip
import mimetypes
import os
from collections.abc import Iterator
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

from experiments.fingerprinting.sites import WEB_PORT, Corpus, Site

_TEXT = ("text/", "application/javascript", "application/json", "image/svg+xml", "application/xml")
_ALIASES = {"/javascript/": "/usr/share/javascript/"}  # as Debian's web servers have it
_LEVEL = 6


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "web"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together

    def __init__(self, root: Path, *args: object) -> None:
        self._root = root
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = find(self._root, self.path)
        if path is None:
            self._send(404, "text/plain", b"not found\n", "")
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        body, coding = _content(path, kind.startswith(_TEXT))
        self._send(200, kind, body, coding)

    def _send(self, status: int, kind: str, body: bytes, coding: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if coding:
            self.send_header("Content-Encoding", coding)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A browser that leaves in the middle of an answer is nothing to tell."""


def find(root: Path, target: str) -> Path | None:
    """The file that a request means, or None; links are followed, but never out of `root`."""
    path = unquote(urlsplit(target).path)
    if "\0" in path:
        return None
    for alias, real in _ALIASES.items():
        if path.startswith(alias) and (root / real[1:]).is_dir():
            path = real + path.removeprefix(alias)
    found = os.path.realpath(root / path.lstrip("/"))
    if not found.startswith(f"{os.path.realpath(root)}{os.sep}"):
        return None
    return Path(found) if os.path.isfile(found) else None


@cache
def _content(path: Path, is_text: bool) -> tuple[bytes, str]:
    """(body, content coding)."""
    body = path.read_bytes()
    return (gzip.compress(body, _LEVEL, mtime=0), "gzip") if is_text else (body, "")


@contextlib.contextmanager
def serving(corpus: Corpus, sites: list[Site]) -> Iterator[None]:
    """The web is there inside this."""
    with contextlib.ExitStack() as stack:
        for site in sites:
            server = _Server((site.address, WEB_PORT), partial(_Handler, corpus.root(site)))
            stack.callback(server.server_close)
            thread = Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield
