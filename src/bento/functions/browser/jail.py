"""The jail a replayed page is opened in: bubblewrap, without any network.

A pack comes from a box that nobody vouches for, so its scripts may try anything. Here the kernel
holds it: a network namespace with nothing in it, a read-only /usr, a /tmp of its own that is gone
with it; no home, no keys, no session bus. Chromium keeps its own sandbox inside (so it must not be
uid 0 there), and as root the whole is moved to a uid of its own first.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bento.errors import HostError
from bento.guest.chromium import NOTHING_AHEAD, PROGRAM

TMP = "/tmp"  # noqa: S108 (inside the jail it is its own, and gone with it)
PROFILE = f"{TMP}/profile"
X11_SOCKETS = f"{TMP}/.X11-unix"

REPLAY_UID = 299_999
"""The uid of a replay started by root: nobody's, just below those of the boxes' sandboxes."""

BECOME = ("/usr/bin/setpriv", f"--reuid={REPLAY_UID}", f"--regid={REPLAY_UID}", "--clear-groups")

TMP_BYTES = 512 * 1024 * 1024

MOUNTS = (
    *("--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64"),
    *("--ro-bind", "/etc/fonts", "/etc/fonts"),
    *("--ro-bind-try", "/var/cache/fontconfig", "/var/cache/fontconfig"),
    *("--proc", "/proc"),
    *("--dev", "/dev"),
    *("--size", str(TMP_BYTES), "--tmpfs", TMP),
    *("--dir", PROFILE),
)

NAMESPACES = (
    "--unshare-all",
    *("--uid", "1000", "--gid", "1000"),
    *("--cap-drop", "ALL"),
    *("--hostname", "page"),
    "--die-with-parent",
    "--new-session",
)


@dataclass(frozen=True, slots=True)
class Display:
    """What a visible window needs: a socket to bind into the jail, and its environment."""

    binds: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def find_display(environment: Mapping[str, str]) -> Display | None:
    """The user's Wayland or X11 display, or None when there is none."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime and (name := environment.get("WAYLAND_DISPLAY", "")):
        inside = {"XDG_RUNTIME_DIR": f"{TMP}/run", "WAYLAND_DISPLAY": "wayland-0"}
        socket = str(Path(runtime, name))
        return Display(
            ("--ro-bind", socket, f"{TMP}/run/wayland-0"), inside, ("--ozone-platform=wayland",)
        )
    if not (name := environment.get("DISPLAY", "")):
        return None
    binds = ["--ro-bind", X11_SOCKETS, X11_SOCKETS]
    inside = {"DISPLAY": name}
    if cookie := environment.get("XAUTHORITY", ""):
        binds += ["--ro-bind", cookie, f"{TMP}/.Xauthority"]
        inside["XAUTHORITY"] = f"{TMP}/.Xauthority"
    return Display(tuple(binds), inside, ("--ozone-platform=x11",))


def missing() -> str:
    """The program that is needed and not there, or ""."""
    programs = {"Chromium": PROGRAM, "bubblewrap": "/usr/bin/bwrap", "setpriv": "/usr/bin/setpriv"}
    return next((name for name, path in programs.items() if not shutil.which(path)), "")


def command(display: Display | None = None) -> list[str]:
    """What to run before Chromium's flags. Raises HostError if a part is not installed."""
    if name := missing():
        raise HostError(
            f"a saved page cannot be opened here: {name} is not installed",
            "apt install chromium bubblewrap; or open page.mhtml in another browser, offline",
        )
    become = BECOME if os.geteuid() == 0 else ()
    binds = display.binds if display else ()
    start = ["/bin/sh", "-c", NOTHING_AHEAD + 'exec "$0" "$@"', PROGRAM]
    return [*become, "/usr/bin/bwrap", *NAMESPACES, *MOUNTS, *binds, "--", *start]
