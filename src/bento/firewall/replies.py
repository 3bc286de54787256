"""Answers for a function, as bytes (control-spec §2.3). Parsed values in, one whole reply out."""

from __future__ import annotations

from bento.firewall.limits import MAX_ERROR_TEXT

OK = b"250 OK\r\n"
CLOSING = b"250 closing connection\r\n"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def one_line(status: int, text: str) -> bytes:
    """A reply of one line. Control characters cannot get into it."""
    clean = "".join(char if char.isprintable() else "?" for char in text[:MAX_ERROR_TEXT])
    return b"%d %s\r\n" % (status, clean.encode("utf-8", "replace"))


def value(key: str, text: str) -> bytes:
    """One `KEY=value` of a longer 250 reply, as a data block when it has lines."""
    if "\n" not in text:
        return _bytes(f"250-{key}={text}\r\n")
    return _bytes(f"250+{key}=\r\n") + block(text)


def block(text: str) -> bytes:
    """A dot-stuffed data block with its closing dot."""
    lines = "\n" + text.removesuffix("\n")
    stuffed = lines.replace("\n.", "\n..").replace("\n", "\r\n").removeprefix("\r\n")
    return _bytes(stuffed) + b"\r\n.\r\n"


def protocol_info(version: str) -> bytes:
    """What stands before AUTHENTICATE: no password, no cookie."""
    return _bytes(
        f'250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250-VERSION Tor="{version}"\r\n250 OK\r\n'
    )


def options(pairs: tuple[tuple[str, str | None], ...]) -> bytes:
    """The answer to GETCONF; an option without a value is unset."""
    if not pairs:
        return OK
    lines = [key if text is None else f"{key}={text}" for key, text in pairs]
    return b"".join(
        _bytes(f"250{' ' if at == len(lines) else '-'}{line}\r\n")
        for at, line in enumerate(lines, 1)
    )
