"""The image `browser`'s Chromium: the flags that every one is started with, on boxes and at home, and
on a box the one that is ready before its function asks.

Between an instance's start and its first call lies a round trip through Tor, and a Chromium needs as
long to start. So one starts with each instance whose manifest has `chromium = true`, in the instance's own
sandbox and within its limits, by the same command for everybody: nothing that a client sends is in it, so
what runs before the code is checked is never a client's. Whatever nobody takes within a minute is killed:
an instance that only waits is as small as any.
"""

from __future__ import annotations

import posix
from _thread import allocate_lock, start_new_thread
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

NOTHING_AHEAD = """
mkdir -p "$HOME/Default"
echo '{"net": {"network_prediction_options": 2}}' > "$HOME/Default/Preferences"
"""
"""For the shell, before Chromium starts in its folder HOME: it fetches nothing that a page only announces
(speculation rules). It would do so past DevTools: not recorded on a box, not answered from a pack at home."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


PATIENCE = 60.0  # seconds for somebody to take the one that is ready
_SOON = ("json", "dataclasses", "zipfile")  # what a function that drives one, a zip, will import
_HOME = "/tmp/chromium-"  # noqa: S108 - the sandbox's private tmpfs
_SHELL = "/bin/sh"
_SCRIPT = f"""
{NOTHING_AHEAD}
version=$("$0" --product-version)
exec "$0" "$@" "--user-agent={USER_AGENT.format("${version%%.*}")}"
"""
_CHILDS = 10  # descriptors below are what a child is given
_RDONLY, _WRONLY, _KILL = 0, 1, 9
_DUPFD_CLOEXEC = 1030  # fcntl, linux/fcntl.h


class Program:
    """A Chromium that runs, for whoever was given it: `pid` leads a process group of its own, `writer` is the
    other end of its descriptor 3 (commands), `reader` that of 4 (answers), `errors` that of its stderr.
    `home` is the folder that is to go with it, if there is one."""

    def __init__(self, pid: int, reader: int, writer: int, errors: int, home: str = "") -> None:
        self.pid = pid
        self.reader = reader
        self.writer = writer
        self.errors = errors
        self.home = home


class Supply:
    """An instance's Chromiums: the first is started at once, any other when it is asked for."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._started = 0
        self._ready: Program | None = None
        try:
            self._ready = self._start()
            start_new_thread(self._wait, ())
        except (OSError, RuntimeError):
            pass  # whoever asks is told

    def take(self) -> Program:
        """One that nobody else has. Raises OSError if none can be started."""
        with self._lock:
            ready, self._ready = self._ready, None
            return ready or self._start()

    def _wait(self) -> None:
        for name in _SOON:
            __import__(name)
        self.give_up(PATIENCE)

    def give_up(self, patience: float) -> None:
        """Ends the one that is ready if nobody takes it in so many seconds."""
        sleep(patience)
        with self._lock:
            unwanted, self._ready = self._ready, None
        if unwanted is not None:
            end(unwanted)

    def _start(self) -> Program:
        self._started += 1
        home = f"{_HOME}{self._started}"
        posix.mkdir(home, 0o700)
        argv = [_SHELL, "-c", _SCRIPT, PROGRAM, *FLAGS, *HEADLESS, f"--user-data-dir={home}"]
        return spawn(argv, {**ENVIRONMENT, "HOME": home}, home)


def spawn(argv: Sequence[str], environment: Mapping[str, str], home: str = "") -> Program:
    """Starts `argv` in a session of its own, with the ends of pipes as its descriptors 2, 3 and 4.

    Raises OSError."""
    commands, writer = _pipe()
    reader, answers = _pipe()
    errors, complaints = _pipe()
    given = {2: complaints, 3: commands, 4: answers}
    try:
        pid = posix.posix_spawn(
            argv[0],
            list(argv),
            dict(environment),
            file_actions=[
                (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", _RDONLY, 0),
                (posix.POSIX_SPAWN_OPEN, 1, "/dev/null", _WRONLY, 0),
                *((posix.POSIX_SPAWN_DUP2, fd, number) for number, fd in given.items()),
            ],
            setsid=True,
        )
    except OSError:
        for fd in (writer, reader, errors):
            posix.close(fd)
        raise
    finally:
        for fd in given.values():
            posix.close(fd)
    return Program(pid, reader, writer, errors, home)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are above the descriptors that a child is given, so none hits another."""
    from fcntl import fcntl

    ends = posix.pipe()
    moved = [fcntl(fd, _DUPFD_CLOEXEC, _CHILDS) for fd in ends]
    for fd in ends:
        posix.close(fd)
    return moved[0], moved[1]


def end(program: Program) -> None:
    """Kills it, with all it started, and clears up behind it."""
    for fd in (program.reader, program.writer, program.errors):
        posix.close(fd)
    posix.killpg(program.pid, _KILL)
    posix.waitpid(program.pid, 0)
    rm = posix.posix_spawn("/bin/rm", ["rm", "-rf", program.home], {})
    posix.waitpid(rm, 0)
