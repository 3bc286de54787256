"""Reading what belongs to the machine, the relay, the box or another function."""

from __future__ import annotations

from tests.hostile.attack import Attack

_ABSENT = r"(ENOENT|EACCES|ENOTDIR|EPERM)( ENOENT| EACCES| ENOTDIR| EPERM)*"


def _reads(*paths: str) -> str:
    """Tries to open files whose names `facts` completes."""
    return f"""
        def attack(api, facts):
            paths = [path.format(**facts) for path in {paths!r}]
            return " ".join(sorted({{attempt(os.open, path, os.O_RDONLY) for path in paths}}))
    """


ATTACKS = (
    Attack(
        "the relay's keys, torrc and control cookie",
        "mount namespace",
        _ABSENT,
        _reads(
            *("/etc/tor/torrc", "/var/lib/tor", "/var/lib/tor/keys/secret_id_key"),
            *("/run/tor/control", "/run/tor/control.authcookie", "{state}/control_auth_cookie"),
        ),
    ),
    Attack(
        "the box's own key and state",
        "mount namespace",
        _ABSENT,
        _reads("{state}", "{state}/key", "{canary}", "/var/lib/bento"),
    ),
    Attack(
        "the box's sockets",
        "mount namespace",
        _ABSENT,
        _reads("{run}", "{run}/door.sock", "/run", "/run/bento-uids", "/var/run"),
    ),
    Attack(
        "the users' homes and passwords",
        "mount namespace",
        _ABSENT,
        _reads(
            "/root", "/home", "/etc/shadow", "/etc/ssh", "/root/.ssh", "/var/log", "/srv", "/mnt"
        ),
    ),
    Attack(
        "the operator's own programs",
        "mount namespace",
        r"\[\]",
        "def attack(api, facts): return os.listdir('/usr/local')",
    ),
    Attack(
        "another function's files",
        "a tmpfs of its own",
        r"ENOENT \[\]",
        """
        def attack(api, facts):
            return attempt(open, "/tmp/neighbours-secret") + " " + str(os.listdir("/dev/shm"))
        """,
    ),
    Attack(
        "another function's processes",
        "pid namespace",
        r"\[\]",
        """
        def attack(api, facts):
            found = []
            for pid in (*range(100, 5000), facts["neighbour"], facts["bentod"]):
                if pid != os.getpid() and attempt(os.kill, pid, 0) != "ESRCH":
                    found.append(pid)
            return found
        """,
        runtimes={"runsc": r"\[\d?\]"},
    ),
    Attack(
        "bentod's environment and command line",
        "no /proc, pid namespace",
        _ABSENT,
        _reads(
            "/proc/{bentod}/environ",
            "/proc/{bentod}/cmdline",
            "/proc/{bentod}/maps",
            "/proc/{bentod}/root",
        ),
    ),
    Attack(
        "its own environment",
        "clean environment",
        r"HOME LANG PATH( PWD)? TZ",
        "def attack(api, facts): return ' '.join(sorted(set(os.environ) - {'LC_CTYPE', 'TERM'}))",
    ),
    Attack(
        "its own command line",
        "neutral command line",
        "nothing of the machine",
        """
        def attack(api, facts):
            words = " ".join(sys.orig_argv)
            told = [w for w in (facts["state"], facts["run"]) if w in words]
            told += {"bentod", facts["host"]} & set(words.split())
            return told or "nothing of the machine"
        """,
    ),
    Attack(
        "the machine's name",
        "uts namespace, made-up files",
        "bento",
        """
        def attack(api, facts):
            import _socket
            for path in ("/etc/hostname", "/etc/machine-id", "/etc/os-release.d", "/var/lib/dbus/machine-id"):
                if attempt(open, path) == "DONE":
                    return path
            return " ".join({os.uname().nodename, _socket.gethostname()})
        """,
    ),
    Attack(
        "identifiers of this boot and this hardware",
        "no /proc, no /sys",
        _ABSENT,
        _reads(
            *("/proc/sys/kernel/random/boot_id", "/sys/class/dmi/id/product_uuid"),
            *("/sys/class/net/eth0/address", "/sys/devices/virtual/dmi", "/proc/cmdline"),
        ),
        runtimes={"runsc": _ABSENT + r"|DONE.*"},
    ),
    Attack(
        "network interfaces and their addresses",
        "network namespace",
        "lo",
        """
        def attack(api, facts):
            path = "/sys/class/net"
            return "lo" if attempt(os.listdir, path) != "DONE" else " ".join(os.listdir(path))
        """,
    ),
    Attack(
        "the kernel's log",
        "seccomp, no device",
        r"EPERM ENOENT",
        "def attack(api, facts): return call(103, 3, 0, 0) + ' ' + attempt(open, '/dev/kmsg', 'rb')",
    ),
    Attack(
        "the machine's disks and memory",
        "devices: null, zero, urandom",
        r"ENOENT",
        _reads(
            "/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/dev/fuse0"
        ),
    ),
    Attack(
        "the mounts and where they come from",
        "no /proc",
        "ENOENT|EACCES",
        _reads("/proc/self/mountinfo", "/proc/mounts", "/etc/mtab", "/etc/fstab"),
        runtimes={"runsc": _ABSENT + "|DONE.*|.*DONE.*"},
    ),
    Attack(
        "memory an earlier function left",
        "fresh tmpfs, fresh process, zeroed pages",
        "nothing",
        """
        def attack(api, facts):
            import ctypes
            block = ctypes.create_string_buffer(8 << 20)
            fresh = ctypes.CDLL(None).malloc
            fresh.restype = ctypes.c_void_p
            pages = ctypes.string_at(fresh(16 << 20), 16 << 20)
            found = pages.count(facts["marker"].encode()) or os.listdir("/tmp")
            keep = facts["marker"].encode() * 100_000
            with open("/tmp/left", "wb") as file:
                file.write(keep)
            return "nothing" if not found else found
        """,
    ),
    Attack(
        "messages between processes of the machine",
        "seccomp, ipc namespace",
        "EPERM",
        "def attack(api, facts): return calls((29, 1, 4096, 0o1666), (30, 0, 0, 0), (64, 1, 1, 0o1666), (68, 1, 0o1666), (240, 0, 0, 0, 0))",
    ),
    Attack(
        "who owns the machine's files",
        "user namespace",
        "65534",
        "def attack(api, facts): return os.stat('/usr').st_uid",
        runtimes={"runsc": "65534|0"},
    ),
    Attack(
        "the operator's zone",
        "made-up environment",
        "UTC",
        "def attack(api, facts): return ' '.join(set(time.tzname)) if attempt(open, '/etc/localtime') == 'ENOENT' else 'localtime'",
    ),
    Attack(
        "what other functions ask of the proxy",
        "a network namespace of its own",
        "EADDRINUSE ECONNREFUSED",
        """
        def attack(api, facts):
            import _socket
            mine = _socket.socket()
            first = attempt(mine.bind, ("127.0.0.1", 1080))
            return first + " " + attempt(_socket.socket().connect, ("127.0.0.1", facts["neighbours_port"]))
        """,
    ),
)
