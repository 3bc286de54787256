"""The commands of the contract, as a user types them, over a real Tor network."""

import json

import pytest
from tests.e2e.command import bento
from tests.e2e.web import web_site

from bento.protocol.capability import Capability
from bento.protocol.caveats import AtBox
from bento.protocol.ticket import Ticket

pytestmark = pytest.mark.network

ECHO = """
def main(api, times: int = 1):
    for piece in api:
        api.send(piece * times)
"""

FETCH = """
# /// bento
# egress = ["*:*"]
# ///
import urllib.request
def main(api, url: str):
    api.send(urllib.request.urlopen(url).read())
"""


@pytest.fixture
def echo(tmp_path):
    path = tmp_path / "echo.py"
    path.write_text(ECHO)
    return path


@pytest.fixture
def fetch(tmp_path):
    path = tmp_path / "fetch.py"
    path.write_text(FETCH.lstrip())
    return path


def test_boxes_lists_every_box_with_its_verified_policy(network):
    done = bento("boxes", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["name"] for line in lines] == ["box0", "box1", "box2"]
    for line in lines:
        known = {"name", "fingerprint", "onion", "key", "load", "price", "policy", "problem"}
        assert set(line) == known
        assert line["price"] == 0  # nobody is there
        assert line["policy"]["images"] == [
            *("python", "browser"),
            *("python-conclave", "browser-conclave"),
        ]
        assert line["policy"]["attestation"] == ["emulated"]
        assert len(line["onion"]) == 56
    assert "box0" in bento("boxes").out.decode()


@pytest.mark.parametrize("entrance", ["circuit", "onion"])
def test_run_carries_input_and_answer_through_both_entrances(network, echo, entrance):
    done = bento("run", "--entrance", entrance, "--json", echo, "2", stdin=b"hello ")
    assert (done.status, done.out) == (0, b"hello hello ")
    assert done.summary["bytes"] == 12


def test_the_web_sees_the_box_and_not_the_user(network, fetch):
    with web_site({"/page": b"the page"}) as (site, visits):
        done = bento("run", "--box", "box1", fetch, f"{site}/page")
    assert done.out == b"the page"
    assert visits == [(visits[0][0], "/page")]
    status = bento("testnet", "status", "--json").json
    assert visits[0][0] != status["socks"].split(":")[0]


def test_install_invoke_detach_attach_shutdown(network, echo):
    installed = bento("install", "--json", echo).json
    assert set(installed) == {"ticket", "shutdown", "expires", "box"}
    assert bento("invoke", installed["ticket"], "3", stdin=b"x").out == b"xxx"
    session = bento("invoke", "--detach", "--json", installed["ticket"]).json["session"]
    assert bento("attach", session, stdin=b"later").out == b"later"
    again = bento("attach", session)
    assert (again.status, again.out) == (12, b"")
    assert "no such session" in again.err
    assert bento("shutdown", "--json", installed["shutdown"]).json["ended"] is True
    gone = bento("invoke", installed["ticket"])
    assert gone.status == 12
    assert "no such token" in gone.err


def test_a_narrowed_ticket_does_what_it_says_and_no_more(network, echo):
    installed = bento("install", "--json", echo).json
    once = bento("narrow", "--json", "--uses", "1", installed["ticket"]).json["ticket"]
    assert bento("invoke", once, "2", stdin=b"x").out == b"xx"
    again = bento("invoke", once, stdin=b"x")
    assert (again.status, again.out) == (12, b"")
    assert "uses are spent" in again.err
    session = bento("invoke", "--detach", installed["ticket"]).out.decode().strip()
    assert "go on with a session" in bento("ticket", session).err
    assert bento("attach", session, stdin=b"later").out == b"later"
    assert bento("shutdown", installed["shutdown"]).status == 0


def test_a_ticket_typed_wrong_of_a_wrong_box_and_of_none_are_told_apart(network):
    """Three errors, three sentences; only the last two have asked the network."""
    fingerprint = json.loads(bento("boxes", "--json").out.splitlines()[0])["fingerprint"]
    token = Capability.mint(bytes(32), bytes(16), AtBox(b"k" * 32))
    another_key = Ticket(bytes.fromhex(fingerprint), token).encode()
    for ticket, status, said in (
        (another_key[:-1], 2, "the ticket is incomplete or was altered"),
        (another_key, 12, "has another key than the ticket names"),
        (Ticket(b"b" * 20, token).encode(), 12, f"relay {'62' * 20} is not in the network now"),
    ):
        done = bento("invoke", ticket)
        assert (done.status, said in done.err) == (status, True), done.err
        assert "hint: " in done.err


def test_a_functions_traceback_comes_to_its_owner(network, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def main(api, n: int):\n    return str(1 // n)\n")
    done = bento("run", path, "0")
    assert done.status == 13
    assert "return str(1 // n)" in done.err
    assert "ZeroDivisionError" in done.err
    wrong = bento("run", path, "none")
    assert wrong.status == 13
    assert "'n' must be int" in wrong.err


def test_a_manifest_too_large_is_refused_by_the_box_with_every_item(network, tmp_path):
    path = tmp_path / "greedy.py"
    path.write_text('# /// bento\n# memory = "99 GiB"\n# cpu = 50\n# ///\ndef main(api): pass\n')
    done = bento("run", path)
    assert done.status == 14
    assert "memory" in done.err
    assert "cpu" in done.err


def test_local_runs_without_the_network_and_says_so(tmp_path, echo):
    done = bento("run", "--local", echo, "2", stdin=b"ab")
    assert done.out == b"abab"
    assert "without a sandbox" in done.err


def test_a_large_answer_arrives_whole(network, tmp_path):
    path = tmp_path / "large.py"
    path.write_text("def main(api):\n for _ in range(160): api.send(bytes(65536))\n")
    done = bento("run", "--json", path)
    assert done.out == bytes(160 * 65536)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("run", "/nowhere.py"), 2, "cannot read /nowhere.py"),
        (("invoke", "bento1abc"), 2, "ticket"),
        (("invoke", "hello"), 2, "a ticket begins with bento1"),
        (("shutdown", "bento1abc"), 2, "shutdown token begins with bentoend1"),
        (("attach", "x"), 2, "session begins with bentoses1"),
        (("browse", "ftp://x/"), 2, "not an address"),
    ],
)
def test_bad_words_are_one_sentence_and_a_hint(words, status, said):
    done = bento(*words)
    assert done.status == status
    assert said in done.err
    assert "hint: " in done.err
    as_json = bento(*words, "--json")
    assert as_json.status == status
    assert as_json.summary["error"] == "usage"


def test_a_box_that_is_not_there_is_named(network, echo):
    done = bento("run", "--box", "nobody", echo)
    assert done.status == 12
    assert "'nobody'" in done.err


def test_a_page_comes_back_packed_padded_and_saved(network, tmp_path):
    page = b"<title>A page</title><img src=/a.png><link rel=stylesheet href=/s.css>"
    with web_site({"/": page, "/a.png": b"\x89PNG", "/s.css": b"p{}"}) as (site, visits):
        done = bento("browse", "--json", "-o", tmp_path / "out", f"{site}/")
    assert done.status == 0, done.err
    assert done.json["title"] == "A page"
    assert (done.json["warm_up"], done.json["received"]) == (224 << 10, 256 << 10)
    assert (tmp_path / "out" / "page.warc").read_bytes().startswith(b"WARC/1.1")
    assert (tmp_path / "out" / "page.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "page.mhtml").stat().st_size
    assert {path for _, path in visits} >= {"/", "/a.png", "/s.css"}


def test_a_page_that_is_not_there_is_a_clear_error(network):
    with web_site({}) as (site, _):
        done = bento("browse", "--json", f"{site}/missing")
    assert done.status == 13
    assert "404" in done.err


def test_help_imports_nothing_heavy():
    import subprocess
    import sys

    probe = (
        "import sys\nfrom bento.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'asyncio', 'cryptography', 'msgspec', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, stdout=subprocess.DEVNULL)
