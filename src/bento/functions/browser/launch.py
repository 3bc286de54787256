"""Starts a Chromium at home, with the flags of the boxes': a page that is shown twice then looks the same
twice."""

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from bento.guest.chromium import ENVIRONMENT, FLAGS, HEADLESS, PROGRAM, USER_AGENT, spawn

from .chromium import Chromium

VERSION_SECONDS = 30


@cache
def version() -> str:
    """The installed Chromium's version, as 156.0.8078.79. Raises OSError."""
    asked = [PROGRAM, "--product-version"]
    try:
        return subprocess.run(
            asked, capture_output=True, text=True, timeout=VERSION_SECONDS, check=True
        ).stdout.strip()
    except subprocess.SubprocessError as error:
        raise OSError(0, "it does not tell its version") from error


def user_agent(chromium_version: str) -> str:
    """The flag for what an ordinary Chromium of that version says of itself.

    So sites see no difference between headless and not, and a replayed page sees the browser that
    it was recorded with. Anything odd in the version (packs are not trusted) gives another number.
    """
    found = re.match(r"(?:Chrome/)?([0-9]{1,4})\.", chromium_version)
    return f"--user-agent={USER_AGENT.format(found[1] if found else 0)}"


def launch(
    command: Sequence[str] = (PROGRAM,),
    flags: Sequence[str] = HEADLESS,
    environment: Mapping[str, str] = ENVIRONMENT,
    profile: str = "",
) -> Chromium:
    """A Chromium with a profile of its own.

    `command` is what to run before the flags: the program, or a jail around it (jail.py), which
    then says with `profile` where inside it the profile may be. Raises OSError if it cannot start.
    """
    own = "" if profile else tempfile.mkdtemp(prefix="chromium-")
    home = profile or own
    argv = [*command, *FLAGS, *flags, f"--user-data-dir={home}"]
    try:
        return Chromium(spawn(argv, {**environment, "HOME": home}, own))
    except OSError:
        if own:
            Path(own).rmdir()
        raise
