"""TLS 1.3 over memory: bytes in, bytes out, no socket.

pyOpenSSL because the standard library of Python 3.11 exports no keying material. The certificate
proves nothing and is not checked: it carries the key that evidence will be about. No session is
ever resumed and no early data is sent: each would escape the binding to one handshake.
Runs in the guest too: imports pyOpenSSL and cryptography only.
"""

from __future__ import annotations

import datetime as dt
from functools import partial

import OpenSSL
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto

from bento.conclave.binding import EXPORTER_LABEL, EXPORTER_SIZE
from bento.errors import LocalProtocolError, RemoteProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALPN = b"bento-conclave/1"
_WRAPS_KEYS = int(OpenSSL.__version__.partition(".")[0]) < 25  # Debian 12 has 23.0
_CHUNK = 65536  # bytes moved at a time between OpenSSL's buffers and ours
_LIFETIME = dt.timedelta(days=3650)  # nobody checks it; no clock is trusted in a guest


class Credential:
    """A key pair made in the conclave, or a box's own, and the certificate TLS wants around it."""

    def __init__(self, own: Ed25519PrivateKey | None = None) -> None:
        key = own or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "conclave")])
        start = dt.datetime(2020, 1, 1)
        self._key = key
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(start)
            .not_valid_after(start + _LIFETIME)
            .sign(key, None if own else hashes.SHA256())
        )

    def __repr__(self) -> str:
        return "<Credential>"

    def install(self, context: SSL.Context) -> None:
        if _WRAPS_KEYS:
            context.use_privatekey(crypto.PKey.from_cryptography_key(self._key))
            context.use_certificate(crypto.X509.from_cryptography(self._certificate))
        else:
            context.use_privatekey(self._key)
            context.use_certificate(self._certificate)


class Tls:
    """One side of one TLS 1.3 session."""

    def __init__(self, credential: Credential | None = None, protocol: bytes = ALPN) -> None:
        """With a credential: the guest's side, or a box's. Without: the client's."""
        self._credential = credential
        self._protocol = protocol
        self._connection = SSL.Connection(_context(credential, protocol), None)
        if credential:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self.established = False
        self.ended = False

    def start(self) -> None:
        """Begin the handshake; a client's first bytes are ready after this."""
        self._handshake()

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the wire, return the plaintext they complete.

        Raises RemoteProtocolError.
        """
        if data:
            self._connection.bio_write(data)
        if not self.established:
            self._handshake()
        return self._read() if self.established and not self.ended else b""

    def write(self, data: bytes) -> None:
        """Encrypt; the bytes wait in `outgoing`. Raises LocalProtocolError on a dead session."""
        view = memoryview(data)
        try:
            while view:
                sent = self._connection.send(view[:_CHUNK])
                view = view[sent:]
        except SSL.Error as error:
            raise LocalProtocolError("the channel is closed") from error

    def outgoing(self) -> bytes:
        """Everything that waits for the wire."""
        pieces = []
        while True:
            try:
                pieces.append(self._connection.bio_read(_CHUNK))
            except SSL.WantReadError:
                return b"".join(pieces)

    def finish(self) -> None:
        """Say that nothing more follows (close_notify)."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            pass  # the session is broken already

    @property
    def group(self) -> str:
        """The key exchange's group, or "" where this pyOpenSSL cannot tell (before 25.1)."""
        name = getattr(self._connection, "get_group_name", lambda: None)()
        return name or ""

    def exporter(self) -> bytes:
        """A secret of this session that both sides share and nobody else knows."""
        exported = self._connection.export_keying_material(EXPORTER_LABEL, EXPORTER_SIZE, b"")
        return bytes(exported)

    def guest_spki(self) -> bytes:
        """The guest's public key (DER), the same on both sides."""
        if self._credential:
            key = self._credential._key.public_key()
        else:
            shown = self._shown()
            if not isinstance(shown, ec.EllipticCurvePublicKey):
                raise RemoteProtocolError("the guest's key is of an unknown kind")
            key = shown
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def box_key(self) -> bytes:
        """To a client: the Ed25519 key that the other side has shown and proven to hold (32 bytes).
        Raises RemoteProtocolError."""
        key = self._shown()
        if not isinstance(key, Ed25519PublicKey):
            raise RemoteProtocolError("the other side's key is none of a box's")
        return key.public_bytes_raw()

    def _shown(self) -> object:
        certificate = self._connection.get_peer_certificate()
        if certificate is None:
            raise RemoteProtocolError("the other side showed no key")
        return certificate.to_cryptography().public_key()

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise RemoteProtocolError("the TLS handshake failed") from error
        if self._connection.get_alpn_proto_negotiated() != self._protocol:
            raise RemoteProtocolError("the other side speaks no conclave protocol we know")
        self.established = True

    def _read(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(self._connection.recv(_CHUNK))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.ended = True
                break
            except SSL.Error as error:
                raise RemoteProtocolError("a TLS record of the channel is damaged") from error
        return b"".join(pieces)


def _context(credential: Credential | None, protocol: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD if credential else SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    if credential:
        credential.install(context)
        context.set_alpn_select_callback(partial(_select, protocol))
    else:
        context.set_alpn_protos([protocol])
    return context


def _select(protocol: bytes, _connection: SSL.Connection, offered: list[bytes]) -> Any:
    return protocol if protocol in offered else SSL.NO_OVERLAPPING_PROTOCOLS
