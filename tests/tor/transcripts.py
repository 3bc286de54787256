"""What a real tor (0.4.9.11) said on its control port, recorded in a private network."""

from __future__ import annotations

from pathlib import Path

from bento.tor.control_codec import Event, Reply, ReplyParser

TRANSCRIPT = (Path(__file__).parent / "transcripts" / "control_port.bin").read_bytes()


def messages() -> list[Reply | Event]:
    return ReplyParser().feed(TRANSCRIPT)


def answers(prefix: str) -> list[str]:
    """The data that answered GETINFO keys which begin with `prefix`."""
    replies = (message for message in messages() if isinstance(message, Reply))
    lines = (line for reply in replies for line in reply.lines)
    return [line.data for line in lines if line.text.startswith(prefix) and line.data]
