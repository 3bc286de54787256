"""A page pack as a standard web archive: WARC 1.1 (ISO 28500:2017). Pure.

One warcinfo record, a response and its request for each exchange, and a metadata record with what
the pack says of the page as a whole. The pack's bodies have their content codings undone, so the
headers which spoke of those are kept under other names (ORIGINAL), as other archives do.
Deterministic: the same pack gives the same bytes.
"""

import base64
import gzip
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from .http import CONSUMED_HEADERS
from .pack import Exchange, Headers, Pack

ORIGINAL = "X-Archive-Orig-"

TRUNCATED = {"response_seconds": "time", "page_seconds": "time", "connection": "disconnect"}
"""A cut's limit -> the reason in WARC-Truncated (section 5.13); any other limit is a length."""

_Fields = Iterable[tuple[str, str]]


def archive(pack: Pack, *, compressed: bool = False) -> bytes:
    """The pack as a WARC file; `compressed`: each record as one gzip member (.warc.gz)."""
    records = _records(pack)
    return b"".join(gzip.compress(r, mtime=0) if compressed else r for r in records)


def _records(pack: Pack) -> Iterator[bytes]:
    date = datetime.fromtimestamp(pack.date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = [("software", "bento"), ("format", "WARC File Format 1.1")]
    kind = "application/warc-fields"
    info, record = _record("warcinfo", 0, date, kind, _lines(about))
    yield record
    for number, exchange in enumerate(pack.exchanges, start=1):
        if not exchange.error:
            yield from _pair(number, date, info, exchange)
    page = [("WARC-Target-URI", pack.url), ("WARC-Warcinfo-ID", info)]
    yield _record("metadata", 0, date, kind, _lines(_of_page(pack)), page)[1]


def _of_page(pack: Pack) -> _Fields:
    yield "final-url", pack.final_url
    yield "title", pack.title
    yield "browser", pack.software
    if pack.failure:
        yield "failure", f"{pack.failure.kind}: {pack.failure.detail}"
    for cut in pack.cuts:
        yield "cut", f"{cut.limit}: {cut.detail}"
    for exchange in pack.exchanges:
        if exchange.error:
            yield "no-response", f"{exchange.error} {exchange.method} {exchange.url}"


def _pair(number: int, date: str, info: str, exchange: Exchange) -> Iterator[bytes]:
    """The response record of an exchange, then its request record."""
    target = [("WARC-Target-URI", exchange.url), ("WARC-Warcinfo-ID", info)]
    payload = [("WARC-Payload-Digest", _digest(exchange.body))]
    if exchange.cut:
        payload.append(("WARC-Truncated", TRUNCATED.get(exchange.cut, "length")))
    kind = "application/http;msgtype=response"
    name, record = _record("response", number, date, kind, _response(exchange), target + payload)
    yield record
    kind = "application/http;msgtype=request"
    concurrent = [*target, ("WARC-Concurrent-To", name)]
    yield _record("request", number, date, kind, _request(exchange), concurrent)[1]


def _record(
    kind: str, number: int, date: str, content: str, block: bytes, more: _Fields = ()
) -> tuple[str, bytes]:
    """A record's id and its bytes."""
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {number} {date} {_digest(block)}")
    identity = f"<urn:uuid:{name}>"
    fields = [
        ("WARC-Type", kind),
        ("WARC-Record-ID", identity),
        ("WARC-Date", date),
        *more,
        ("WARC-Block-Digest", _digest(block)),
        ("Content-Type", content),
        ("Content-Length", str(len(block))),
    ]
    return identity, b"WARC/1.1\r\n" + _lines(fields) + b"\r\n" + block + b"\r\n\r\n"


def _response(exchange: Exchange) -> bytes:
    status = f"HTTP/1.1 {exchange.status} {exchange.reason}\r\n".encode()
    headers = [
        (ORIGINAL + name if name.lower() in CONSUMED_HEADERS else name, value)
        for name, value in exchange.headers
    ]
    headers.append(("Content-Length", str(len(exchange.body))))
    return status + _lines(headers) + b"\r\n" + exchange.body


def _request(exchange: Exchange) -> bytes:
    parts = urlsplit(exchange.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    line = f"{exchange.method} {path} HTTP/1.1\r\n".encode()
    headers: Headers = (("Host", parts.netloc), *exchange.request_headers)
    return line + _lines(headers) + b"\r\n" + exchange.request_body


def _lines(fields: _Fields) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + base64.b32encode(hashlib.sha256(data).digest()).decode()
