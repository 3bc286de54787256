"""What HTTP means for a recording: which headers still hold, which answers have a body, or are pages.

Pure, standard library only: a request or a response as the DevTools protocol tells it, in; a plain
value out. Both halves use it, so that a page is answered in a replay as it was when it was recorded.
"""

import base64
import re
from collections.abc import Iterable

from .cdp import Fields
from .pack import MAX_HEADERS, Exchange, Headers, is_header, plain

REDIRECTS = frozenset({301, 302, 303, 307, 308})
BODILESS = frozenset({101, 204, 205, 304})

CONSUMED_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""What the way to the page has already undone; a body that is handed over has none of it."""

SHOWN_TYPES = ("text/", "image/", "application/xhtml+xml", "application/xml", "application/json",
               "application/javascript", "audio/", "video/")  # fmt: skip
"""What Chromium shows as a page; the rest it would save as a file."""


def request_parts(request: Fields) -> tuple[str, str, Headers, bytes]:
    """Method, address, headers and body of a paused request."""
    parts = (part.binary("bytes") for part in request.each("postDataEntries"))
    headers = safe_headers(request.fields("headers").texts().items())
    return request.text("method"), request.text("url"), headers, b"".join(parts)


def fulfilment(identity: str, exchange: Exchange) -> dict[str, object]:
    """The parameters of Fetch.fulfillRequest that answer a request with a recorded response."""
    return {
        "requestId": identity,
        "responseCode": exchange.status,
        "responsePhrase": exchange.reason or "Unknown",  # Chromium insists, for odd statuses
        "responseHeaders": [
            {"name": name, "value": value}
            for name, value in exchange.headers
            if name.lower() not in CONSUMED_HEADERS
        ],
        "body": base64.b64encode(exchange.body).decode(),
    }


def piece(answer: Fields) -> bytes:
    """The bytes of one IO.read."""
    if answer.flag("base64Encoded"):
        return answer.binary("data")
    return answer.text("data").encode(errors="replace")


def safe_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Those headers that a pack may hold."""
    return tuple((n, v) for n, v in headers if is_header(n, v))[:MAX_HEADERS]


def header(headers: Headers, name: str) -> str:
    """A header's value in lower case, or ""."""
    return next((v.lower() for n, v in headers if n.lower() == name), "")


def promised(headers: Headers) -> int:
    """The length that the server announced, where it can be compared; else 0."""
    length = header(headers, "content-length")
    coded = header(headers, "content-encoding")
    return int(length) if re.fullmatch("[0-9]{1,18}", length) and not coded else 0


def has_body(method: str, status: int, headers: Headers) -> bool:
    """Whether there is anything to read; a redirect's body is nobody's business."""
    if method == "HEAD" or status in BODILESS:
        return False
    return not (status in REDIRECTS and header(headers, "location"))


def download(status: int, headers: Headers) -> str:
    """Why this response is no page: its disposition or its type; "" if it is one."""
    if header(headers, "content-disposition").startswith("attachment"):
        return "Content-Disposition: attachment"
    if not 200 <= status <= 299 or status in BODILESS:
        return ""
    kind = header(headers, "content-type").partition(";")[0].strip()
    shown = not kind or kind.startswith(SHOWN_TYPES) or kind.endswith(("+xml", "+json"))
    return "" if shown else plain(kind)
