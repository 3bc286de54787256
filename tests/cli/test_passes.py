"""`bentod pass` and `bento pass`, from an issuer's founding to passes at home."""

import json

import pytest

from bento.cli.bentod import main as bentod
from bento.cli.main import main as bento


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTO_HOME", str(tmp_path / "home"))
    return tmp_path


def test_passes_go_from_an_issuer_to_a_holder_by_three_files(home, capfdbinary):
    folder, card = home / "club", home / "club" / "card.json"
    assert (
        bentod(
            [
                "pass",
                "found",
                str(folder),
                "--name",
                "club",
                "--uses",
                "2",
                "--epochs",
                "1",
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capfdbinary.readouterr().out)["file"] == str(card)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.pem"))

    assert bento(["pass", "request", str(card)]) == 0
    (home / "ask").write_bytes(capfdbinary.readouterr().out)
    assert bentod(["pass", "sign", str(folder), str(home / "ask"), "--holder", "ada"]) == 0
    (home / "answer").write_bytes(capfdbinary.readouterr().out)
    assert bento(["pass", "accept", str(home / "answer"), "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == {"passes": 2}
    assert bento(["pass", "list", "--json"]) == 0
    listed = json.loads(capfdbinary.readouterr().out)
    assert (listed["issuer"], listed["left"]) == ("club", 2)

    assert bento(["pass", "accept", str(home / "answer")]) == 2  # each answer once
    assert bentod(["pass", "sign", str(folder), str(home / "ask"), "--holder", "ada"]) == 2
    assert b"ada had 2 of 2" in capfdbinary.readouterr().err
    assert bentod(["pass", "found", str(folder), "--name", "again"]) == 2
    assert (home / "home" / "passes.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "words",
    [
        ["pass", "request", "/nowhere"],
        ["pass", "accept", "/dev/null"],
    ],
)
def test_a_wrong_file_is_a_plain_sentence(home, capfd, words):
    assert bento(words) == 2
    assert "error: " in capfd.readouterr().err
