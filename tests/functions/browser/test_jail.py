"""What the replay's jail shows of the user's machine, for each kind of display."""

import os

import pytest

from bento.errors import HostError
from bento.functions.browser import jail


def pairs(words: list[str], option: str) -> list[tuple[str, str]]:
    return [(words[i + 1], words[i + 2]) for i, word in enumerate(words) if word == option]


def test_no_network_no_capability_no_home() -> None:
    words = jail.command()
    assert "--unshare-all" in words
    assert "--share-net" not in words
    assert words[words.index("--cap-drop") + 1] == "ALL"
    shown = {
        source for option in ("--ro-bind", "--ro-bind-try") for source, _ in pairs(words, option)
    }
    assert shown == {"/usr", "/etc/fonts", "/var/cache/fontconfig"}
    assert "--bind" not in words


def test_root_becomes_somebody_else_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert jail.command()[: len(jail.BECOME)] == list(jail.BECOME)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert jail.command()[0] == "/usr/bin/bwrap"


def test_wayland_is_preferred_and_its_socket_is_all_that_is_shown() -> None:
    environment = {
        "XDG_RUNTIME_DIR": "/run/user/1",
        "WAYLAND_DISPLAY": "wayland-1",
        "DISPLAY": ":0",
    }
    display = jail.find_display(environment)
    assert display
    assert display.binds == ("--ro-bind", "/run/user/1/wayland-1", "/tmp/run/wayland-0")
    assert display.environment["WAYLAND_DISPLAY"] == "wayland-0"
    assert display.binds[0] in jail.command(display)


def test_x11_is_its_sockets_and_its_cookie() -> None:
    display = jail.find_display({"DISPLAY": ":0", "XAUTHORITY": "/home/u/.Xauthority"})
    assert display
    assert pairs(list(display.binds), "--ro-bind") == [
        ("/tmp/.X11-unix", "/tmp/.X11-unix"),
        ("/home/u/.Xauthority", "/tmp/.Xauthority"),
    ]
    assert display.environment == {"DISPLAY": ":0", "XAUTHORITY": "/tmp/.Xauthority"}


@pytest.mark.parametrize("environment", [{}, {"WAYLAND_DISPLAY": "wayland-0"}, {"DISPLAY": ""}])
def test_no_display_is_none(environment: dict[str, str]) -> None:
    assert jail.find_display(environment) is None


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail.shutil, "which", lambda path: None if "bwrap" in path else path)
    assert jail.missing() == "bubblewrap"
    with pytest.raises(HostError, match="bubblewrap is not installed"):
        jail.command()
