"""Out of the jail: namespaces, mounts, the kernel's wide doors, other ABIs, what was inherited."""

from __future__ import annotations

from tests.hostile.attack import ENDED, HELD, Attack

_IN_A_CHILD = """
        import ctypes, mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write({code!r})
        child = os.fork()
        if child == 0:
            ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def _machine_code(code: bytes) -> str:
    return "def attack(api, facts):" + _IN_A_CHILD.format(code=code)


ATTACKS = (
    Attack(
        "a user namespace by unshare",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            return calls((272, 0x10000000), (272, 0x10020000), (272, 0x20000))
        """,
    ),
    Attack(
        "namespaces by clone",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            kinds = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
            return calls(*((56, kind | 17, 0, 0, 0, 0) for kind in kinds))
        """,
    ),
    Attack(
        "namespaces by clone3",
        "seccomp",
        "ENOSYS",
        """
        def attack(api, facts):
            import ctypes, struct
            words = struct.pack("=11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
            return call(435, ctypes.create_string_buffer(words), len(words))
        """,
    ),
    Attack(
        "another namespace by setns",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            return calls(*((308, descriptor, 0) for descriptor in range(20)))
        """,
    ),
    Attack(
        "a mount of its own",
        "seccomp, no capabilities",
        "EPERM",
        """
        def attack(api, facts):
            import ctypes
            text = lambda word: ctypes.c_char_p(word)
            return calls(
                (165, text(b"x"), text(b"/tmp"), text(b"tmpfs"), 0, None),
                (165, text(b"/"), text(b"/tmp"), None, 4096, None),
                (165, None, text(b"/usr"), None, 32, None),
            )
        """,
    ),
    Attack(
        "unmounting what hides the machine",
        "seccomp, no capabilities",
        "EPERM",
        """
        def attack(api, facts):
            import ctypes
            paths = (b"/usr/local", b"/tmp", b"/usr", b"/etc", b"/")
            return calls(*((166, ctypes.c_char_p(path), 2) for path in paths))
        """,
    ),
    Attack(
        "the new mount calls",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            import ctypes
            name = ctypes.c_char_p(b"tmpfs")
            return calls((430, name, 0), (428, -100, name, 1), (429, -1, name, -1, name, 0), (442, 0))
        """,
    ),
    Attack(
        "another root by pivot_root",
        "seccomp, no capabilities",
        "EPERM",
        """
        def attack(api, facts):
            import ctypes
            os.mkdir("/tmp/new")
            return call(155, ctypes.c_char_p(b"/tmp"), ctypes.c_char_p(b"/tmp/new"))
        """,
    ),
    Attack(
        "chroot, then upwards",
        "seccomp, no capabilities",
        "EPERM EPERM",
        """
        def attack(api, facts):
            os.mkdir("/tmp/x")
            outside = os.open("/", os.O_RDONLY)
            first = attempt(os.chroot, "/tmp/x")
            os.fchdir(outside)
            for _ in range(50):
                os.chdir("..")
            return first + " " + attempt(os.chroot, ".")
        """,
    ),
    Attack(
        "a file by its handle",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            import ctypes
            handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\x01\\0\\0\\0\\x02" + bytes(120))
            return calls((304, 3, handle, 0), (304, -100, handle, 0), (303, -100, handle, handle, handle, 0))
        """,
    ),
    Attack(
        "the machine's disk by a device node of its own",
        "seccomp, nodev",
        "EPERM ENOENT",
        """
        def attack(api, facts):
            import stat
            made = attempt(os.mknod, "/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
            return made + " " + attempt(open, "/tmp/disk", "rb")
        """,
    ),
    Attack(
        "the kernel's settings",
        "no /proc, read-only root",
        "(ENOENT|EACCES|EROFS)( ENOENT| EACCES| EROFS)*",
        """
        def attack(api, facts):
            paths = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe",
                     "/sys/kernel/uevent_helper", "/proc/self/oom_score_adj")
            return " ".join(sorted({attempt(open, path, "r+b") for path in paths[:4]}))
        """,
    ),
    Attack(
        "a control group's release agent",
        "no cgroupfs",
        "(ENOENT|EROFS|EACCES|EPERM)( ENOENT| EROFS| EACCES| EPERM)*",
        """
        def attack(api, facts):
            found = {attempt(open, f"{top}/{name}", "wb")
                     for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified")
                     for name in ("release_agent", "notify_on_release", "cgroup.procs")}
            return " ".join(sorted(found))
        """,
    ),
    Attack(
        "overwriting the program that started it",
        "read-only root, no launcher inside",
        "(EACCES|ENOENT|EROFS|EPERM|ELOOP|ETXTBSY)( EACCES| ENOENT| EROFS| EPERM| ELOOP| ETXTBSY)*",
        """
        def attack(api, facts):
            paths = ("/proc/self/exe", "/proc/1/exe", "/usr/bin/python3", "/usr/bin/bwrap",
                     "/usr/bin/crun", "/usr/bin/runsc", "/usr/lib/x86_64-linux-gnu/libc.so.6")
            return " ".join(sorted({attempt(os.open, path, os.O_WRONLY) for path in paths}))
        """,
    ),
    Attack(
        "tracing the first process",
        "seccomp, pid namespace",
        "EPERM",
        """
        def attack(api, facts):
            child = os.fork()
            if child == 0:
                time.sleep(60)
            found = calls(*((101, kind, pid, 0, 0) for kind in (16, 0x4206) for pid in (1, child)))
            os.kill(child, 9)
            return found
        """,
    ),
    Attack(
        "writing another process's memory",
        "seccomp",
        "EPERM",
        """
        def attack(api, facts):
            return calls((311, 1, 0, 0, 0, 0, 0), (310, 1, 0, 0, 0, 0, 0), (438, 0, 0, 0))
        """,
    ),
    Attack(
        "programs that run as root",
        "no_new_privs, sealed exec",
        r"EPERM( EPERM)* uid 1000",
        """
        def attack(api, facts):
            found = []
            for name in ("su", "mount", "umount", "passwd", "newgrp", "chsh", "true"):
                if os.path.exists("/usr/bin/" + name):
                    found.append(attempt(os.execv, "/usr/bin/" + name, [name]))
            return " ".join(found) + f" uid {os.geteuid()}"
        """,
        runtimes={"runsc": r"EPERM( EPERM)* uid 0", "runc": r"EPERM( EPERM)* uid 0"},
    ),
    Attack(
        "becoming root",
        "seccomp, no capabilities",
        "EPERM",
        """
        def attack(api, facts):
            return calls((105, 0), (106, 0), (117, 0, 0, 0), (119, 0, 0, 0), (116, 0, None), (126, 0, 0))
        """,
    ),
    Attack(
        "io_uring",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((425, 8, 0), (426, 3, 1, 0, 0, 0))",
    ),
    Attack(
        "a program in the kernel (bpf)",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((321, 5, 0, 0), (321, 0, 0, 0))",
    ),
    Attack(
        "userfaultfd",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((323, 0), (323, 1))",
    ),
    Attack(
        "performance counters",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return call(298, 0, 0, -1, -1, 0)",
    ),
    Attack(
        "kernel modules and another kernel",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((175, 0, 0, 0), (313, 0, 0, 0), (176, 0, 0), (246, 0, 0, 0, 0), (320, 0, 0, 0, 0, 0))",
    ),
    Attack(
        "the kernel's key rings",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((250, 0, -3, 0), (248, 0, 0, 0, 0, -3), (249, 0, 0, 0, 0))",
    ),
    Attack(
        "another personality, another descriptor table",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((135, 0x0040000), (154, 1, 0, 16), (172, 3), (173, 0, 1, 1))",
    ),
    Attack(
        "the machine's clock, name and power",
        "seccomp",
        "EPERM",
        "def attack(api, facts): return calls((227, 0, 0), (164, 0, 0), (170, 0, 0), (171, 0, 0), (169, 0xfee1dead, 672274793, 0x1234567, 0), (163, 0))",
    ),
    Attack(
        "calls of 32-bit programs",
        "seccomp (architecture)",
        "-31|-11",
        _machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"),  # mov eax, 20; int 0x80; ret
        runtimes={"runsc": "-31|-11|0"},  # its own kernel answers
    ),
    Attack(
        "calls of x32 programs",
        "seccomp (architecture)",
        "-31|0",
        _machine_code(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3"),  # mov eax, 39 | x32; syscall; ret
    ),
    Attack(
        "machine code of its own",
        "seccomp",
        "1",  # EPERM
        # mov edi, 0x10000000; mov eax, 272 (unshare); syscall; neg eax; mov edi, eax; mov eax, 231; syscall
        _machine_code(
            b"\xbf\x00\x00\x00\x10\xb8\x10\x01\x00\x00\x0f\x05\xf7\xd8\x89\xc7\xb8\xe7\x00\x00\x00\x0f\x05"
        ),
    ),
    Attack(
        "typing into a terminal",
        "seccomp, no terminal",
        "(EPERM|ENOTTY|ENXIO|ENOENT|EROFS|EIO)( EPERM| ENOTTY| ENXIO| ENOENT| EROFS| EIO)*",
        """
        def attack(api, facts):
            import fcntl
            found = {attempt(fcntl.ioctl, number, 0x5412, b"x") for number in range(4)}
            return " ".join(sorted(found | {attempt(open, "/dev/tty", "w")}))
        """,
    ),
    Attack(
        "folders left open by whoever started it",
        "closed descriptors",
        r"\[\]",
        """
        def attack(api, facts):
            import stat
            found = []
            for number in range(1024):
                try:
                    if stat.S_ISDIR(os.fstat(number).st_mode):
                        found.append(os.listdir(number))
                except OSError:
                    pass
            return found
        """,
    ),
    Attack(
        "a program without a name",
        "seccomp, sealed exec",
        "EPERM EPERM",
        """
        def attack(api, facts):
            import ctypes
            file = os.memfd_create("x", 0)
            os.write(file, open("/usr/bin/true", "rb").read())
            first = call(322, file, ctypes.c_char_p(b""), None, None, 0x1000)
            with open("/tmp/x", "wb") as copy:
                copy.write(open("/usr/bin/true", "rb").read())
            os.chmod("/tmp/x", 0o755)
            return first + " " + attempt(os.execv, "/tmp/x", ["x"])
        """,
    ),
    Attack(
        "another filter, or none",
        "seccomp, sealed",
        "EPERM|EPERM EINVAL",
        "def attack(api, facts): return calls((157, 22, 2, 0, 0, 0), (157, 22, 0, 0, 0, 0), (317, 1, 0, 0), (157, 38, 0, 0, 0, 0))",
    ),
    Attack(
        "signals to everybody",
        "pid namespace",
        "only itself",
        """
        def attack(api, facts):
            for pid in (*range(100, 5000), facts["bentod"]):
                if pid != os.getpid() and attempt(os.kill, pid, 9) == "DONE":
                    return f"killed {pid}"
            return "only itself"
        """,
    ),
    Attack(
        "going before tor",
        "no capabilities, rlimits, seccomp",
        "(EPERM|EACCES|EINVAL|ENOSYS)( EPERM| EACCES| EINVAL| ENOSYS)*",
        """
        def attack(api, facts):
            import ctypes
            words = ctypes.create_string_buffer((10).to_bytes(4, "little"))
            found = {attempt(os.nice, -20), call(144, 0, 1, words), call(141, 0, 0, -20), call(251, 1, 0, 0x2000)}
            return " ".join(sorted(found))
        """,
    ),
    Attack(
        "raising its own limits",
        "rlimits",
        "(EPERM|ValueError)( EPERM| ValueError)*",
        """
        def attack(api, facts):
            import resource
            kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE)
            return " ".join(sorted({attempt(resource.setrlimit, kind, (1 << 30, 1 << 30)) for kind in kinds}))
        """,
    ),
    Attack(
        "descriptors forged for the box",
        "the box takes none",
        f"sent|{ENDED}",
        """
        def attack(api, facts):
            import _socket, array
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [os.open("/", 0)] * 8).tobytes())
            for number in range(3, 64):
                try:
                    end = _socket.socket(fileno=os.dup(number))
                    end.sendmsg([b""], [rights])
                    end.sendmsg([b"ready"], [rights])
                except OSError:
                    pass
            return "sent"
        """,
    ),
    Attack(
        "nonsense on every socket it holds",
        "strict parsers, bounded frames",
        ENDED,
        """
        def attack(api, facts):
            import _socket
            for number in range(3, 64):
                for junk in (b"\\xff" * 4096, b"\\0" * 4096, b"\\x80\\x04\\x95cposix\\nsystem\\n.", bytes(range(256)) * 8):
                    try:
                        _socket.socket(fileno=os.dup(number)).send(junk, 0x40)
                    except OSError:
                        pass
            return "sent"
        """,
    ),
    Attack(
        "taking the box's connections from its own runtime",
        "one instance, one jail",
        HELD,
        """
        def attack(api, facts):
            import _socket
            os.set_blocking(3, True)
            while True:
                _socket.socket(fileno=_socket.socket(fileno=os.dup(3))._accept()[0]).send(b"\\xff" * 100)
        """,
    ),
)
