"""Starts and ends a Chromium that only this process can drive; the same way in both halves.

Same flags, window, language, time zone and pixel density for recording and for replaying: a page
that is shown twice then looks the same twice. Standard library only.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Self

from .cdp import Connection

PROGRAM = "/usr/lib/chromium/chromium"
"""The program itself: Debian's /usr/bin/chromium is a script that reads the host's settings."""

WIDTH, HEIGHT = 1280, 1024
"""The page's window in pixels. All boxes have the same, so it tells sites nothing."""

DEAD_PROXY = "socks5://127.0.0.1:9"
"""Nothing listens there. It is what Chromium's own errands get (sign-in, updates, time): only the
page's own context is given a way out (tab.py), and a replayed page is given none."""

FLAGS = (
    "--remote-debugging-pipe",
    f"--proxy-server={DEAD_PROXY}",
    "--proxy-bypass-list=<-loopback>",  # loopback addresses too go to the proxy, never around it
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # names are the proxy's to resolve
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--dns-prefetch-disable",
    "--no-pings",
    "--disable-quic",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    # HttpsUpgrades would ask for addresses other than the page's own. LocalNetworkAccessChecks asks
    # the user about loopback and private addresses: there is none; the box's egress decides.
    # SpareRendererForSitePerProcess readies a process for a next page: there is none. The two WebUI
    # ones draw what drops down from the address bar, which nobody sees: a renderer, and more than half
    # of the processor time of a start.
    "--disable-features=HttpsUpgrades,LocalNetworkAccessChecks,OptimizationHints,MediaRouter,"
    "SpareRendererForSitePerProcess,WebUIOmniboxPopup,WebUIOmniboxAimPopup",
    "--block-new-web-contents",  # a page stays one page
    "--deny-permission-prompts",
    "--disable-blink-features=AutomationControlled",  # sites treat an announced robot differently
    "--no-startup-window",  # no blank window beside the page: half the processor time of a start
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-breakpad",
    "--password-store=basic",
    "--mute-audio",
    "--disable-gpu",  # software rendering: the same pixels on every machine
    "--disable-dev-shm-usage",  # a sandbox's /dev/shm may be tiny
    "--force-device-scale-factor=1",
    "--force-color-profile=srgb",
    "--lang=en-US",
    f"--window-size={WIDTH},{HEIGHT}",
)
HEADLESS = ("--headless", "--hide-scrollbars")

USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{}.0.0.0 Safari/537.36"
)

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}

MEMORY = "it may need more memory than the function has"

VERSION_SECONDS = 30
STOP_SECONDS = 5.0
LAST_WORDS_SECONDS = 0.5
TAIL_BYTES = 2000


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


class Chromium:
    """One running Chromium, with a profile of its own. `close` leaves nothing of it behind.

    `command` is what to run before the flags: the program, or a jail around it (jail.py), which
    then says with `profile` where inside it the profile may be. Raises OSError if it cannot start.
    """

    def __init__(
        self,
        command: Sequence[str] = (PROGRAM,),
        flags: Sequence[str] = HEADLESS,
        environment: Mapping[str, str] = ENVIRONMENT,
        profile: str = "",
    ) -> None:
        self._own_profile = "" if profile else tempfile.mkdtemp(prefix="chromium-")
        home = profile or self._own_profile
        argv = [*command, *FLAGS, *flags, f"--user-data-dir={home}"]
        self._tail = bytearray()
        self._killed = self._closed = False
        try:
            self.pid, self.connection = self._spawn(argv, {**environment, "HOME": home})
        except OSError:
            self._remove_profile()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spawn(self, argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, Connection]:
        """Starts `argv` in a session of its own, with the pipe as its descriptors 3 and 4."""
        commands_out, commands_in = _pipe()
        answers_out, answers_in = _pipe()
        errors_out, errors_in = _pipe()
        theirs = {2: errors_in, 3: commands_out, 4: answers_in}
        try:
            pid = os.posix_spawn(
                argv[0],
                list(argv),
                dict(environment),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    *((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in theirs.items()),
                ],
                setsid=True,
            )
        except OSError:
            for fd in (commands_in, answers_out, errors_out):
                os.close(fd)
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)
        self._last_words = threading.Thread(target=self._keep_tail, args=(errors_out,), daemon=True)
        self._last_words.start()
        return pid, Connection(answers_out, commands_in)

    def _keep_tail(self, errors: int) -> None:
        """Reads what Chromium complains about, so that it never blocks, and keeps the end of it."""
        with open(errors, "rb", buffering=0) as stream:
            while data := stream.read(4096):
                self._tail += data
                del self._tail[:-TAIL_BYTES]

    def obituary(self) -> str:
        """How it ended, in words, once its pipe is closed: a signal, or a status and its last line."""
        until = time.monotonic() + STOP_SECONDS
        while (ended := self._ended()) is None and time.monotonic() < until:
            time.sleep(0.02)
        return f"Chromium ended {ended or 'without a word'}"

    def _ended(self) -> str | None:
        try:
            seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return ""
        if seen is None:
            return None
        if seen.si_code == os.CLD_EXITED:
            return f"with status {seen.si_status}{self._last_line()}"
        hint = f" ({MEMORY})" if seen.si_status == signal.SIGKILL else ""
        return f"by signal {seen.si_status}{hint}"

    def _last_line(self) -> str:
        self._last_words.join(LAST_WORDS_SECONDS)
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def kill(self) -> None:
        """Kills the whole process group; it has nothing worth an orderly end."""
        if not self._killed:
            self._killed = True
            self.connection.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kills it, and returns once nothing of it is left."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._remove_profile()

    def _remove_profile(self) -> None:
        """A renderer that is just dying may still write, so once more if need be."""
        for _ in range(2):
            if self._own_profile:
                shutil.rmtree(self._own_profile, ignore_errors=True)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are above the descriptors that a child is given, so none hits another."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in ends)
    for fd in ends:
        os.close(fd)
    return moved[0], moved[1]
