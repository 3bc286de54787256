"""A small web on loopback: pages that need scripts, pictures, fonts, redirects; and bad ones.

Each server counts what it was asked for, so a test can see that nothing was.
"""

import gzip
import http.server
import mimetypes
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")
HANDBOOK = Path("/usr/share/doc/debian-handbook/html/en-US")
HUGE_BYTES = 100 * 1024 * 1024
QUIET_SECONDS = 1.5


def svg(color: str) -> bytes:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40">'
        f'<rect width="60" height="40" fill="{color}"/></svg>'
    ).encode()


RICH = b"""<!doctype html><html><head><meta charset="utf-8"><title>A rich page \xe2\x9c\x93</title>
<link rel="stylesheet" href="/style.css?v=2">
<script src="/script.js"></script></head>
<body><h1>Rich</h1><p id="built">not yet</p><p id="fromWorker"></p>
<img src="/moved.svg"><img src="/picture.svg?color=teal&amp;n=1"><img src="/picture.svg?color=gold">
<img src="data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
 width="20" height="20">
<iframe src="http://OTHER/frame" width="300" height="100"></iframe>
<img src="/broken.svg" width="10" height="10">
<div style="height: 7000px"></div>
<img loading="lazy" src="/lazy.svg"><img id="seen"><p>the end</p>
<script>
new IntersectionObserver((entries, observer) => {
  if (entries[0].isIntersecting) { seen.src = '/seen.svg'; observer.disconnect(); }
}).observe(seen);
</script>
</body></html>"""

SCRIPT = b"""
// What comes when depends on the network; where it goes does not.
addEventListener('DOMContentLoaded', async () => {
  const worker = new Worker('/worker.js');
  worker.onmessage = (event) => { fromWorker.textContent = event.data; };
  const one = await (await fetch('/data.json?q=1')).json();
  const request = new XMLHttpRequest();
  request.open('POST', '/echo');
  request.onload = () => { built.textContent += ' ' + request.responseText; };
  built.textContent = one.items.join(', ');
  request.send('posted-by-the-page');
  const open = await fetch('http://OTHER/open.json').then(r => r.text());
  const closed = await fetch('http://OTHER/closed.json').then(r => r.text(), () => 'no CORS');
  const p = document.createElement('p');
  p.textContent = open + ' / ' + closed + ' / ' + document.cookie;
  document.body.insertBefore(p, built);
});
"""

STYLE = b"""@import url("/colors.css");
@font-face { font-family: Web; src: url("/font.ttf"); }
h1 { font-family: Web; font-size: 48px; }
body { background-image: url(/picture.svg?color=lavender); }
"""

LOREM = b"<p>" + b"The quick brown fox jumps over the lazy dog. " * 50 + b"</p>"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Site"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.hit(self.path)
        path = urlsplit(self.path).path
        if path in self.server.pages:
            self.answer(*self.server.pages[path])
        elif path in HANDLERS:
            HANDLERS[path](self)
        elif path.startswith("/handbook/"):
            self.file(HANDBOOK / path.removeprefix("/handbook/"))
        else:
            self.answer(404, "text/html", b"<title>gone</title><h1>Not here</h1>")

    def do_POST(self) -> None:
        self.server.hit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, "text/plain", b"echo of " + body)

    def file(self, path: Path) -> None:
        if not path.is_file():
            self.answer(404, "text/plain", b"")
            return
        self.answer(200, mimetypes.guess_type(path)[0] or "text/plain", path.read_bytes())

    def answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, kind: str, piece: bytes, pause: float = 0, size: int = 1 << 62) -> None:
        """Sends `piece` again and again, until so many bytes are out or nobody listens."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while size > 0 and not self.server.closing.is_set():
                self.wfile.write(piece)
                size -= len(piece)
                time.sleep(pause)
        except OSError:
            return


def redirect(target: str, status: int = 302) -> Callable[[Handler], None]:
    return lambda h: h.answer(status, "text/plain", b"", Location=target)


def zipped(kind: str, body: bytes, **headers: str) -> Callable[[Handler], None]:
    packed = gzip.compress(body)
    return lambda h: h.answer(200, kind, packed, Content_Encoding="gzip", **headers)


def rich(h: Handler) -> None:
    body = RICH.replace(b"OTHER", h.server.other.encode())
    zipped("text/html", body, Set_Cookie="taste=salt; Path=/")(h)


def picture(h: Handler) -> None:
    query = urlsplit(h.path).query
    color = query.removeprefix("color=").split("&")[0]
    h.answer(200, "image/svg+xml", svg(color))


def broken(h: Handler) -> None:
    """Promises more than it sends."""
    h.close_connection = True
    h.send_response(200)
    h.send_header("Content-Type", "image/svg+xml")
    h.send_header("Content-Length", "5000")
    h.end_headers()
    h.wfile.write(b"<svg ")


def silent(h: Handler) -> None:
    h.server.closing.wait(60)


def stalled(h: Handler) -> None:
    """Headers, and then nothing at all."""
    h.stream("text/html", b"", pause=0.2)


def hangup(h: Handler) -> None:
    h.close_connection = True
    h.connection.shutdown(socket.SHUT_RDWR)


def html(body: bytes) -> Callable[[Handler], None]:
    return lambda h: h.answer(200, "text/html", b"<!doctype html><title>t</title>" + body)


def speculates(how: str) -> Callable[[Handler], None]:
    """A page that announces where it goes next, and goes there."""
    rules = '{"%s": [{"source": "list", "urls": ["/plain?next"], "eagerness": "immediate"}]}'
    return html(
        f"<script type=speculationrules>{rules % how}</script>"
        "<script>setTimeout(() => { location = '/plain?next' }, 700)</script>".encode()
    )


HANDLERS: dict[str, Callable[[Handler], None]] = {
    "/": redirect("/rich", 301),
    "/rich": rich,
    "/style.css": zipped("text/css", STYLE),
    "/colors.css": lambda h: h.answer(200, "text/css", b"body { color: rgb(20, 40, 90); }"),
    "/font.ttf": lambda h: h.file(FONT),
    "/script.js": lambda h: h.answer(
        200, "text/javascript", SCRIPT.replace(b"OTHER", h.server.other.encode())
    ),
    "/worker.js": lambda h: h.answer(
        200,
        "text/javascript",
        b"fetch('/data.json?q=worker').then(r => r.text()).then(t => postMessage('worker ' + t));",
    ),
    "/data.json": lambda h: h.answer(200, "application/json", b'{"items": ["built", "by", "JS"]}'),
    "/moved.svg": redirect("/moved-again.svg", 301),
    "/moved-again.svg": redirect("/picture.svg?color=crimson"),
    "/picture.svg": picture,
    "/lazy.svg": lambda h: h.answer(200, "image/svg+xml", svg("green")),
    "/broken.svg": broken,
    "/seen.svg": lambda h: h.answer(200, "image/svg+xml", svg("purple")),
    "/long": html(
        b"<div style='height: 20000px'></div><img loading=lazy src='/lazy.svg?far'><p>the end"
    ),
    "/frame": html(b"<body style='background: khaki'>a frame <img src='/picture.svg?color=navy'>"),
    "/open.json": lambda h: h.answer(
        200, "application/json", b'"open"', Access_Control_Allow_Origin="*"
    ),
    "/closed.json": lambda h: h.answer(200, "application/json", b'"closed"'),
    "/plain": html(LOREM),
    "/still": html(
        b"<link rel=stylesheet href=/still.css><link rel=icon href='/picture.svg?color=lime'>"
        b"<p class=seen>near<div style='height: 20000px'></div><p class=far>far"
        b"<img src='/picture.svg?color=gold'>"
    ),
    "/still.css": lambda h: h.answer(
        200,
        "text/css",
        b"@import '/colors.css'; @font-face { font-family: f; src: url(/font.ttf) }"
        b".seen { font-family: f; background: url(/seen.svg) } .far { background: url(/lazy.svg) }",
    ),
    "/endless": lambda h: h.stream("text/html", b"<p>and so on</p>\n", pause=0.05),
    "/stalled": stalled,
    "/silent": silent,
    "/hangup": hangup,
    "/huge": lambda h: h.stream("text/html", b"<i>x</i>" * 8192, size=HUGE_BYTES),
    "/huge.js": lambda h: h.stream("text/javascript", b"// x\n" * 8192, size=HUGE_BYTES),
    "/with-huge-script": html(b"<h1>here</h1><script src=/huge.js></script>"),
    "/greedy": html(
        b"<script>let n=0; setInterval(() => { for (let i=0;i<20;i++) fetch('/plain?'+n++) }, 20)"
        b"</script>"
    ),
    "/many-big": html(b"<script>for (let i=0;i<200;i++) fetch('/mebibyte?'+i)</script>"),
    "/mebibyte": lambda h: h.answer(200, "text/plain", b"m" * 1024 * 1024),
    "/spin": html(b"<h1>spin</h1><img src='/picture.svg?color=red'><script>for(;;);</script>"),
    "/reload": html(b"<script>location = '/reload?' + Math.random()</script>"),
    "/hungry": html(
        b"<script>const all = []; for (let i = 0; i < 400; i++)"
        b" all.push(new Uint8Array(8 << 20).fill(1))</script>"
    ),
    "/alert": html(b"<script>alert('hello')</script><h1>after</h1>"),
    "/long-poll": html(b"<h1>poll</h1><script>fetch('/silent')</script>"),
    "/events": html(b"<h1>events</h1><script>new EventSource('/event-stream')</script>"),
    "/event-stream": lambda h: h.stream("text/event-stream", b"data: x\n\n", pause=0.1),
    "/volatile": html(
        b"<p id=p></p><script>fetch('/data.json?_=' + Date.now()).then(r => r.text())"
        b".then(t => p.textContent = t)</script>"
    ),
    "/latin": lambda h: h.answer(
        200, "text/html; charset=iso-8859-1", b"<title>caf\xe9</title>caf\xe9 \xff"
    ),
    "/attachment": lambda h: h.answer(
        200, "text/html", b"<p>x", Content_Disposition='attachment; filename="x.html"'
    ),
    "/file.zip": lambda h: h.stream("application/zip", b"PK" * 4096, size=HUGE_BYTES),
    "/empty-204": lambda h: h.answer(204, "text/html", b""),
    "/error-500": lambda h: h.answer(500, "text/html", b"<title>oops</title><h1>broken</h1>"),
    "/error-bare": lambda h: h.answer(503, "text/html", b""),
    "/loop": redirect("/loop"),
    "/to-file": redirect("file:///etc/passwd"),
    "/to-script": redirect("javascript:alert(1)"),
    "/late": html(
        b"<p id=p>early</p><script>setTimeout(() => { p.textContent = 'late' }, 300)</script>"
    ),
    "/tries-to-leak": html(
        b"<link rel=dns-prefetch href=//leak.test><link rel=preconnect href=//leak.test>"
        b"<link rel=prefetch href=/prefetched><h1>leak</h1><script>"
        b"try { new WebSocket('ws://' + location.host + '/ws') } catch (e) {}"
        b"try { const c = new RTCPeerConnection({iceServers: [{urls: 'stun:127.80.44.1:3478'}]});"
        b"c.createDataChannel('x'); c.createOffer().then(o => c.setLocalDescription(o)) } catch (e) {}"
        b"navigator.sendBeacon('/beacon', 'x'); new Image().src = '/pixel?' + Math.random();"
        b"navigator.serviceWorker && navigator.serviceWorker.register('/sw.js');"
        b"fetch('/late-' + Math.random()).catch(() => 0); open('/popup');"
        b"</script>"
    ),
    "/prefetch": speculates("prefetch"),
    "/prerender": speculates("prerender"),
    "/serves-itself": html(
        b"<p id=p>early</p><script>navigator.serviceWorker.register('/answers.js');"
        b"navigator.serviceWorker.oncontrollerchange = () => fetch('/made-up').then(r => r.text())"
        b".then(t => { p.textContent = t })</script>"
    ),
    "/answers.js": lambda h: h.answer(
        200,
        "text/javascript",
        b"onactivate = e => e.waitUntil(clients.claim());"
        b"onfetch = e => { if (e.request.url.endsWith('made-up')) e.respondWith("
        b"fetch('/data.json?sw').then(r => r.text()).then(t => new Response('worker ' + t))) }",
    ),
    "/sw.js": lambda h: h.answer(
        200, "text/javascript", b"self.addEventListener('install', () => fetch('/from-sw'));"
    ),
}


class Site(http.server.ThreadingHTTPServer):
    """One web server on a loopback address of its own."""

    daemon_threads = True

    def __init__(self, address: str, other: str = "") -> None:
        super().__init__((address, 0), Handler)
        self.other = other or self.address
        self.hits: list[str] = []
        self.last_hit = time.monotonic()
        self.pages: dict[str, tuple[int, str, bytes]] = {}
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def hit(self, path: str) -> None:
        self.hits.append(path)
        self.last_hit = time.monotonic()

    def is_quiet(self) -> bool:
        """Whether nothing was asked for in a good while."""
        return time.monotonic() - self.last_hit > QUIET_SECONDS

    def secure(self, context: ssl.SSLContext) -> None:
        """TLS from now on; the handshake is made in each connection's own thread."""
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    @property
    def address(self) -> str:
        return f"{self.server_address[0]}:{self.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def stop(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A browser that hangs up is nothing to report."""


@contextmanager
def web(net: int) -> Iterator[Site]:
    """Two sites, the first of which uses the second; on addresses of net 127.80.`net`.0/24."""
    other = Site(f"127.80.{net}.2")
    site = Site(f"127.80.{net}.1", other.address)
    try:
        yield site
    finally:
        site.stop()
        other.stop()


@contextmanager
def https(site: Site) -> Iterator[str]:
    """The site's pages over TLS, with a certificate that nobody vouches for."""
    with TemporaryDirectory(prefix="browser-test-") as folder:
        host = str(site.server_address[0])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(_certificate(Path(folder, "pem"), host))
        secure = Site(host, site.other)
        try:
            secure.secure(context)
            yield f"https://{secure.address}/plain"
        finally:
            secure.stop()


def _certificate(path: Path, host: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
