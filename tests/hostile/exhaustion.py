"""Taking what others need: processes, memory, cpu, disk, descriptors, the kernel's own memory."""

from __future__ import annotations

from tests.hostile.attack import ENDED, HELD, Attack

_FULL = r"(ENOSPC|EDQUOT) \d+"

ATTACKS = (
    Attack(
        "a fork bomb",
        "pids limit, cpu quota, pid namespace",
        HELD,
        """
        def attack(api, facts):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
        """,
        heavy=True,
        # Its processes are threads of gVisor's own, which ends as a whole when the kernel gives it none.
        runtimes={"runsc": f"{ENDED}|{HELD}"},
    ),
    Attack(
        "a thread bomb",
        "pids limit",
        r"([1-9]|[1-5]\d|6[0-4])",
        """
        def attack(api, facts):
            import _thread
            made = 0
            try:
                while made < 5000:
                    _thread.start_new_thread(time.sleep, (1000,))
                    made += 1
            except RuntimeError:
                pass
            return made
        """,
        runtimes={"runsc": ENDED},  # its kernel gives up when it gets no more helpers
        heavy=True,
    ),
    Attack(
        "a memory hog",
        "memory limit",
        ENDED,
        """
        def attack(api, facts):
            hoard = []
            while True:
                hoard.append(b"x" * (1 << 20))
        """,
        heavy=True,
    ),
    Attack(
        "many processes that share the hoarding",
        "memory limit of the whole group",
        f"{ENDED}|survivors",
        """
        def attack(api, facts):
            for _ in range(8):
                if os.fork() == 0:
                    keep = b"x" * (24 << 20)
                    time.sleep(1000)
            time.sleep(1)
            return "survivors"
        """,
        heavy=True,
    ),
    Attack(
        "memory in nameless files",
        "memory limit",
        ENDED,
        """
        def attack(api, facts):
            file = os.memfd_create("hoard")
            while True:
                os.write(file, bytes(1 << 20))
        """,
        heavy=True,
    ),
    Attack(
        "shared memory",
        "memory limit",
        ENDED,
        """
        def attack(api, facts):
            import mmap
            keep = []
            while True:
                keep.append(mmap.mmap(-1, 1 << 20))
                keep[-1].write(bytes(1 << 20))
        """,
        heavy=True,
    ),
    Attack(
        "a full disk",
        "size of the private tmpfs",
        _FULL,
        """
        def attack(api, facts):
            written = 0
            try:
                with open("/tmp/full", "wb", 0) as file:
                    while True:
                        written += file.write(bytes(1 << 16))
            except OSError as error:
                return f"{errno.errorcode[error.errno]} {written >> 20}"
        """,
        heavy=True,
    ),
    Attack(
        "a million files",
        "inodes of the private tmpfs",
        _FULL,
        """
        def attack(api, facts):
            made = 0
            try:
                while True:
                    os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY))
                    made += 1
            except OSError as error:
                assert made < 5000
                return f"{errno.errorcode[error.errno]} {made}"
        """,
        heavy=True,
    ),
    Attack(
        "folders without end",
        "inodes of the private tmpfs",
        r"(ENOSPC|ENAMETOOLONG) \d+",
        """
        def attack(api, facts):
            os.chdir("/tmp")
            made = 0
            try:
                while True:
                    name = "n" * 200
                    os.mkdir(name)
                    os.chdir(name)
                    made += 1
            except OSError as error:
                assert made < 5000
                return f"{errno.errorcode[error.errno]} {made}"
        """,
        heavy=True,
    ),
    Attack(
        "names without end",
        "inodes of the private tmpfs",
        r"(ENOSPC|EMLINK) \d+",
        """
        def attack(api, facts):
            open("/tmp/one", "w").close()
            made = 0
            try:
                while True:
                    os.link("/tmp/one", f"/tmp/{made}" + "n" * 200)
                    made += 1
            except OSError as error:
                assert made < 5000
                return f"{errno.errorcode[error.errno]} {made}"
        """,
    ),
    Attack(
        "pipes full of data",
        "open files, memory limit",
        f"EMFILE \\d+|{ENDED}",
        """
        def attack(api, facts):
            import fcntl
            keep = []
            try:
                while True:
                    reader, writer = os.pipe()
                    keep.append(reader)
                    try:
                        fcntl.fcntl(writer, 1031, 1 << 20)
                    except OSError:
                        pass
                    os.set_blocking(writer, False)
                    attempt(os.write, writer, bytes(1 << 20))
            except OSError as error:
                return f"{errno.errorcode[error.errno]} {len(keep)}"
        """,
        heavy=True,
    ),
    Attack(
        "sockets full of data",
        "open files, memory limit",
        f"EMFILE \\d+|{ENDED}",
        """
        def attack(api, facts):
            import _socket
            keep = []
            try:
                while True:
                    pair = _socket.socketpair()
                    keep.append(pair)
                    for end in pair:
                        end.setsockopt(1, 7, 1 << 20)
                        end.setblocking(False)
                        attempt(end.send, bytes(1 << 20))
            except OSError as error:
                return f"{errno.errorcode[error.errno]} {len(keep)}"
        """,
        heavy=True,
    ),
    Attack(
        "descriptors passed in circles",
        "open files, kernel's count per user",
        r"(EMFILE|ETOOMANYREFS|EAGAIN|ENOBUFS) \d+|held \d+",
        """
        def attack(api, facts):
            import _socket, array
            ours, theirs = _socket.socketpair()
            ours.setblocking(False)
            sent = 0
            try:
                while sent < 20000:
                    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [theirs.fileno()] * 100).tobytes())
                    ours.sendmsg([b"x"], [rights])
                    sent += 100
            except OSError as error:
                return f"{errno.errorcode[error.errno]} {sent}"
            return f"held {sent}"
        """,
    ),
    Attack(
        "every descriptor",
        "open files",
        r"EMFILE \d{1,3}",
        """
        def attack(api, facts):
            keep = []
            try:
                while True:
                    keep.append(os.dup(3))
            except OSError as error:
                found = f"{errno.errorcode[error.errno]} {len(keep)}"
                for number in keep:
                    os.close(number)
                return found
        """,
    ),
    Attack(
        "timers",
        "system call filter",
        "EPERM 0",
        """
        def attack(api, facts):
            import ctypes
            made, number = 0, ctypes.c_int()
            while made < 5000:
                found = call(222, 1, None, ctypes.byref(number))
                if found != "DONE":
                    return f"{found} {made}"
                made += 1
            return made
        """,
    ),
    Attack(
        "watches, events and polls",
        "open files; watches: system call filter",
        "EPERM EMFILE EMFILE",
        """
        def attack(api, facts):
            import ctypes, select
            def hoard(make):
                keep = []
                try:
                    while len(keep) < 5000:
                        keep.append(make())
                except OSError as error:
                    found = errno.errorcode[error.errno]
                for one in keep:
                    os.close(one) if isinstance(one, int) else one.close()
                return found if len(keep) < 5000 else "none"
            libc = ctypes.CDLL(None, use_errno=True)
            def watch():
                number = libc.inotify_init1(0)
                if number < 0:
                    raise OSError(ctypes.get_errno(), "")
                return number
            return " ".join([hoard(watch), hoard(lambda: os.eventfd(0)), hoard(select.epoll)])
        """,
    ),
    Attack(
        "thousands of record locks",
        "memory limit (kernel memory is charged)",
        rf"(ENOLCK|ENOMEM) \d+|held \d+|{ENDED}",
        """
        def attack(api, facts):
            import fcntl
            made = 0
            with open("/tmp/locked", "wb") as file:
                try:
                    while made < 4000:
                        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, made * 2)
                        made += 1
                except OSError as error:
                    return f"{errno.errorcode[error.errno]} {made}"
            return f"held {made}"
        """,
        heavy=True,
    ),
    Attack(
        "all cores at once",
        "cpu quota and weight",
        HELD,
        """
        def attack(api, facts):
            for _ in range(5):
                os.fork()
            while True:
                pass
        """,
        heavy=True,
    ),
    Attack(
        "an answer without end, to nobody who reads",
        "bounded spool, back-pressure",
        HELD,
        """
        def attack(api, facts):
            while True:
                api.send(bytes(1 << 20))
        """,
        heavy=True,
    ),
    Attack(
        "log lines without end",
        "bounded log",
        HELD,
        """
        def attack(api, facts):
            while True:
                print("x" * 10_000)
        """,
        heavy=True,
    ),
    Attack(
        "one line of a gigabyte",
        "memory limit",
        f"{ENDED}|MemoryError",
        """
        def attack(api, facts):
            return attempt(print, "x" * (1 << 30))
        """,
    ),
    Attack(
        "a function that ignores every signal",
        "kill by pidfd",
        HELD,
        """
        def attack(api, facts):
            import ctypes
            libc = ctypes.CDLL(None)
            for number in range(1, 65):
                libc.signal(number, ctypes.c_void_p(1))
            while True:
                time.sleep(1)
        """,
    ),
    Attack(
        "closing every descriptor and spinning",
        "kill by pidfd",
        ENDED,
        """
        def attack(api, facts):
            os.closerange(0, 4096)
            while True:
                pass
        """,
        runtimes={"runsc": f"{ENDED}|{HELD}"},
    ),
    Attack(
        "daemons that outlive the call",
        "pid namespace",
        "left behind",
        """
        def attack(api, facts):
            for _ in range(5):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        time.sleep(1000)
                    os._exit(0)
            return "left behind"
        """,
    ),
    Attack(
        "ending itself",
        "one instance, one jail",
        ENDED,
        "def attack(api, facts): os._exit(0)",
    ),
    Attack(
        "a packed hundred megabytes",
        "memory limit",
        f"{ENDED}|MemoryError",
        """
        def attack(api, facts):
            import zlib
            packer = zlib.compressobj()
            packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
            return attempt(zlib.decompress, packed)
        """,
        heavy=True,
    ),
    Attack(
        "recursion without end",
        "one instance, one jail",
        f"RecursionError|{ENDED}",
        """
        def attack(api, facts):
            sys.setrecursionlimit(1 << 30)
            def deeper():
                return deeper()
            return attempt(deeper)
        """,
        heavy=True,
    ),
    Attack(
        "an expression that never ends",
        "cpu quota",
        HELD,
        """
        def attack(api, facts):
            import re
            re.match("(a|aa)+$", "a" * 100 + "b")
        """,
        heavy=True,
    ),
    Attack(
        "crashes in a loop",
        "core size 0, pids limit",
        "no core",
        """
        def attack(api, facts):
            import ctypes
            for _ in range(20):
                if os.fork() == 0:
                    ctypes.string_at(0)
                os.wait()
            return "no core" if not [n for n in os.listdir("/tmp") if "core" in n] else os.listdir("/tmp")
        """,
        heavy=True,
    ),
    Attack(
        "input that is never read",
        "window of the stream",
        HELD,
        """
        def attack(api, facts):
            while True:
                time.sleep(1)
        """,
    ),
)
