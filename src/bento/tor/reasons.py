"""What tor's reason words mean to a person: (one sentence, what to do).

Tables only. Words: control-spec 4.1.1 (circuits), 4.1.2 (streams); tor may add some, and then its
own word is shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from bento.errors import TorError

_STREAM: Mapping[str, tuple[str, str]] = {
    "EXITPOLICY": (
        "the relay's exit policy does not allow this address and port",
        "the box's operator has to accept it in the relay's ExitPolicy",
    ),
    "RESOLVEFAILED": ("the relay could not resolve the name", ""),
    "CONNECTREFUSED": ("nothing listens at that address and port", "the box may be down"),
    "CONNRESET": ("the far end reset the connection", "try again"),
    "NOROUTE": ("the relay has no route to that address", "the box may be down"),
    "NET_UNREACHABLE": ("the relay cannot reach that network", ""),
    "TIMEOUT": ("the stream took too long", "try again"),
    "DESTROY": ("the circuit was torn down", "build another one"),
    "DONE": ("the far end closed the connection at once", ""),
    "HIBERNATING": ("the relay is hibernating", "choose another box"),
    "RESOURCELIMIT": ("the relay has no room for another stream", "try again later"),
    "TORPROTOCOL": ("the relay broke the Tor protocol", "choose another box"),
    "INTERNAL": ("the relay failed inside", "choose another box"),
    "CANT_ATTACH": ("tor could not use the circuit for the stream", "build another one"),
    "PRIVATE_ADDR": (
        "tor refuses internal addresses",
        "a box on the live network listens on 192.0.2.77",
    ),
    # With early data tor gives this reason for a refused connection too.
    "MISC": ("the relay could not open the stream", "nothing may be listening there"),
}

_CIRCUIT: Mapping[str, tuple[str, str]] = {
    "TIMEOUT": ("it took too long", "try again"),
    "CONNECTFAILED": ("a relay on the way could not be reached", "try again"),
    "CHANNEL_CLOSED": ("the connection to the first relay broke", "check this machine's network"),
    "OR_CONN_CLOSED": ("the connection to the first relay broke", "check this machine's network"),
    "OR_IDENTITY": ("a relay on the way is not the one that it should be", ""),
    "DESTROYED": ("a relay on the way tore it down", "try again"),
    "RESOURCELIMIT": ("a relay on the way has no room for it", "try again later"),
    "HIBERNATING": ("a relay on the way is hibernating", "try again"),
    "TORPROTOCOL": ("a relay on the way broke the Tor protocol", "try again"),
    "NOPATH": ("there are not enough relays", "wait until tor knows more of them"),
    "FINISHED": ("it was unused for long", "build another one"),
    "REQUESTED": ("it was closed on request", ""),
    "INTERNAL": ("a relay on the way failed inside", "try again"),
}


def stream_failure(words: Mapping[str, str]) -> TorError:
    """The error for a STREAM event that is the end of a stream; `words` are its keywords."""
    return _failure("", _STREAM, words)


def circuit_failure(what: str, words: Mapping[str, str]) -> TorError:
    """The error for a CIRC event that is the end of a circuit; `what` happened to it."""
    return _failure(f"{what}: ", _CIRCUIT, words)


def _failure(
    prefix: str, table: Mapping[str, tuple[str, str]], words: Mapping[str, str]
) -> TorError:
    # The far end's reason says more than "END" or "DESTROYED".
    word = words.get("REMOTE_REASON") or words.get("REASON") or "NONE"
    detail, hint = table.get(word, (f"tor says {word[:40]}", ""))
    return TorError(prefix + detail, hint)
