"""R17, the guard's view: it counts cells, and every shipped function gives it the same count to see."""

import hashlib
import secrets
from pathlib import Path

import pytest

from bento.client.upload import Upload
from bento.functions.catalogue import CATALOGUE
from bento.protocol import limits
from bento.protocol.door import ClientDoor, Create
from bento.protocol.manifest import manifest_text
from bento.protocol.padding import DOOR_CLASS, UPLOAD_CLASS, padded
from bento.protocol.session import Invoke
from bento.protocol.values import encode_values
from bento.protocol.wire import encode

EXAMPLES = Path(__file__).parents[2] / "examples"
CARRIES_CELLS = {"front", "replica"}  # Tor's cell protocol makes them larger; docs/unlinkability.md
SHIPPED = {each.name: each.upload() for each in CATALOGUE if each.name not in CARRIES_CELLS} | {
    path.stem: path.read_bytes() for path in sorted(EXAMPLES.glob("*.py"))
}
CALLS = {
    "no argument": [[], {}],
    "a short address": [["http://a.example/"], {}],
    "a long address": [["https://example.org/" + "a" * 2000], {"padding": "x2"}],
}
CELL = 488  # stream bytes of a relay cell, relay protocol 6 and congestion control
FIRST_WINDOW = 124  # cells a circuit sends before it hears anything (cc_cwnd_init)


def flights(upload, call):
    """Bytes of the two flights of a new function: the request, then code and call."""
    digest = hashlib.sha256(upload).digest()
    request = ClientDoor().request(Create(manifest_text(upload), digest, b"", b""))
    session, owner = secrets.token_bytes(limits.SESSION_ID), secrets.token_bytes(limits.OWNER)
    invoke = encode(Invoke(session, encode_values(call), False, owner))
    return len(request), sum(map(len, Upload(upload, owner).pieces(invoke)))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("name", SHIPPED)
def test_r17_every_shipped_function_goes_up_in_as_many_bytes(name, call):
    assert flights(SHIPPED[name], call) == (padded(1, DOOR_CLASS), padded(1, UPLOAD_CLASS))


def test_the_upload_fits_in_the_first_window_of_a_circuit():
    assert (DOOR_CLASS + UPLOAD_CLASS) / CELL < FIRST_WINDOW


def test_unpadded_they_could_be_told_apart():
    sizes = {name: len(upload) // CELL for name, upload in SHIPPED.items()}
    assert len(set(sizes.values())) > 1


def test_r17_functions_that_carry_the_cell_library_are_the_only_larger_ones():
    sizes = {each.name: flights(each.upload(), [[], {}])[1] for each in CATALOGUE}
    assert {name for name, size in sizes.items() if size > padded(1, UPLOAD_CLASS)} == CARRIES_CELLS
    assert {sizes[name] for name in CARRIES_CELLS} == {padded(100_000, UPLOAD_CLASS)}
