"""The search for canaries finds what it must, wherever it is; or its silence would say nothing."""

import base64
import logging
import subprocess
import sys
from hashlib import sha256

import pytest
from tests.canaries import Canaries

from bento.protocol.capability import Capability
from bento.protocol.caveats import AtBox
from bento.protocol.ticket import Ticket


@pytest.fixture
def cage(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return Canaries([home]), home


@pytest.mark.parametrize(
    "spell",
    [bytes, bytes.hex, base64.b64encode, base64.b32encode, bytes.upper, lambda raw: raw[::-1]],
)
def test_a_word_in_a_log_is_found_however_it_is_spelled(cage, spell):
    canaries, home = cage
    word = spell(canaries.plant("payload").encode())
    text = word.encode() if isinstance(word, str) else word
    (home / "box").mkdir()
    (home / "box" / "bentod.log").write_bytes(b"2027-01-15 12:00 info it said " + text + b"\n")
    assert canaries.found() == [f"payload: the file {home}/box/bentod.log"]


def test_a_word_in_a_file_name_is_found_though_the_file_is_gone(cage):
    canaries, home = cage
    path = home / f"{canaries.plant('host name')}.sock"
    path.touch()
    canaries.look()
    path.unlink()
    assert len(canaries.found()) == 1


@pytest.mark.parametrize("where", ["argument", "environment"])
def test_a_word_in_the_process_list_is_found_though_the_process_is_gone(cage, where):
    canaries, _ = cage
    word = canaries.plant("source")
    words = [word] if where == "argument" else []
    env = {"SOURCE": word} if where == "environment" else {}
    wait = [sys.executable, "-c", "print(flush=True); input()", *words]
    with subprocess.Popen(wait, stdin=-1, stdout=-1, env=env) as child:
        child.stdout.readline()
        canaries.look()
        child.communicate(b"\n")
    assert len(canaries.found()) == 1


def test_a_word_that_a_box_in_this_process_logs_is_found(cage):
    canaries, _ = cage
    collector = next(h for h in logging.root.handlers if type(h).__name__ == "_Collector")
    canaries._lines = list(collector._lines)
    canaries._lines.append(f"visit of {canaries.plant('client address')}")
    assert len(canaries.found()) == 1


def test_every_secret_of_a_ticket_is_looked_for(cage):
    canaries, home = cage
    token = Capability.mint(bytes(range(32)), b"a name", AtBox(sha256(b"a box").digest()))
    ticket = Ticket(sha256(b"an identity").digest()[:20], token)
    canaries.add_all_of("ticket", ticket)
    for number, text in enumerate((ticket.encode(), token.encode().hex(), repr(token.seal))):
        (home / f"{number}.log").write_text(text)
    assert len(canaries.found()) == 3
