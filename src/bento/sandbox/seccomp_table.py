"""The one table of system calls: what a function may ask the kernel for. Data only.

Deny by default: a call the table does not name fails with EPERM; a call number no table knows, and
the few in `absent`, fail with ENOSYS, since the C library falls back to an older call only then.
A call of another ABI (i386, x32) ends the process. `seccomp` makes BPF of it; the same rows can be
written as an OCI profile.

Every rule is made use of by an image, as a trace of both at work shows
(tests/sandbox/test_seccomp_in_use.py), or says in `spare` where it will be.
"""

from __future__ import annotations

from dataclasses import dataclass

_WORD = 0xFFFFFFFF  # the kernel reads many int arguments as 32 bits only


@dataclass(frozen=True, slots=True)
class Where:
    """A condition: `argument[index] & mask == value`."""

    index: int
    value: int
    mask: int = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Rule:
    """`call` is allowed if every condition holds.

    `spare` is why, where no image makes the call in plain sight on every machine.
    """

    call: str
    where: tuple[Where, ...] = ()
    spare: str = ""


def _plain(calls: str, spare: str = "") -> tuple[Rule, ...]:
    return tuple(Rule(call, spare=spare) for call in calls.split())


def _values(call: str, index: int, values: tuple[int, ...]) -> tuple[Rule, ...]:
    """One rule for each value of a 32-bit argument."""
    return tuple(Rule(call, (Where(index, value, _WORD),)) for value in values)


# `os.preadv` makes preadv2, and falls back to preadv on ENOSYS alone.
_FILES = (
    *_plain("""
        read write readv writev pread64 pwrite64 preadv2 pwritev2 lseek close close_range
        openat access faccessat2 newfstatat statx statfs fstatfs
        readlink readlinkat getdents64 getcwd chdir fchdir umask fcntl flock dup dup2 dup3 pipe2
        truncate ftruncate fallocate fsync fdatasync fadvise64 sendfile splice copy_file_range
        rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir
        chmod fchmod fchmodat utimensat
    """),
    *_plain("faccessat", "the C library, on a kernel that has no faccessat2"),
    *_plain("fstat", "the C library from 2.39 on (Debian 13) makes fstat() of it"),
)
_MEMORY = _plain("mmap munmap mremap mprotect madvise brk msync")
_THREADS = (
    *_plain("""
        futex set_robust_list rseq set_tid_address arch_prctl gettid
        sched_yield sched_getaffinity sched_setaffinity sched_getscheduler
        exit exit_group
    """),
    *_plain("getcpu", "the C library's sched_getcpu() where the kernel has no rseq and no vDSO"),
)
_PROCESSES = _plain("""
    vfork wait4 waitid kill tgkill getpid getppid getpgrp getpgid getsid setsid
    getuid geteuid getgid getegid getresuid getresgid getgroups prlimit64 getrusage times
    sysinfo uname getrandom execve
""")
_SIGNALS = (
    *_plain("""
        rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait
        sigaltstack pause
    """),
    *_plain("restart_syscall", "the kernel goes on with it in a sleep that SIGSTOP has cut"),
)
_TIME = (
    *_plain("clock_gettime clock_nanosleep alarm setitimer getitimer"),
    *_plain(
        "clock_getres gettimeofday time",
        "the C library, where the machine's clock source cannot be read through the vDSO",
    ),
    *_plain("timerfd_create timerfd_settime timerfd_gettime", "Python from 3.13 on (Debian 13)"),
)
_WAITING = _plain("poll ppoll pselect6 epoll_create1 epoll_ctl epoll_wait eventfd2")
_SOCKETS = _plain("""
    bind connect listen accept4 getsockname getpeername getsockopt setsockopt shutdown
    sendto recvfrom sendmsg recvmsg sendmmsg
""")

# A network namespace does not confine AF_VSOCK (it reaches the hypervisor), and AF_NETLINK,
# AF_PACKET and AF_ALG are wide doors into the kernel: only UNIX, TCP and UDP; no raw sockets, no
# SCTP, no MPTCP, no ping. The type carries SOCK_CLOEXEC and SOCK_NONBLOCK in its upper bits.
_UNIX, _INET, _INET6 = 1, 2, 10
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_TCP, _UDP = 6, 17
_KINDS = (
    *((_UNIX, kind, 0) for kind in (_STREAM, _DGRAM, _SEQPACKET)),
    *((family, _STREAM, protocol) for family in (_INET, _INET6) for protocol in (0, _TCP)),
    *((family, _DGRAM, protocol) for family in (_INET, _INET6) for protocol in (0, _UDP)),
)
_SOCKET_KINDS = (
    *(
        Rule("socket", (Where(0, family, _WORD), Where(1, kind, 0xF), Where(2, protocol, _WORD)))
        for family, kind, protocol in _KINDS
    ),
    Rule("socketpair", (Where(0, _UNIX, _WORD),)),
)

# linux/sched.h
_NEWTIME, _NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID, _NEWNET, _FS = 0x10000000, 0x20000000, 0x40000000, 0x200
_NEW_FOR_CHROMIUM = _NEWUSER | _NEWPID | _NEWNET
_NEW_FOR_NOBODY = _NEWTIME | _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC
_CLONE = (Rule("clone", (Where(0, 0, _NEW_FOR_NOBODY | _NEW_FOR_CHROMIUM),)),)

# TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX: no TIOCSTI, no device ever.
_IOCTL = _values("ioctl", 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451))

_PR_SET_NAME = 15
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_ADD_FILTER = Rule(
    "prctl",
    (Where(0, _PR_SET_SECCOMP, _WORD), Where(1, _SECCOMP_MODE_FILTER, _WORD)),
    spare="the loader seals the jail with it, before a function is there",
)
_PRCTL = (
    Rule(
        "prctl",
        (Where(0, _PR_SET_NAME, _WORD),),
        spare="C libraries that name their threads, and Python from 3.14 on",
    ),
    _ADD_FILTER,
)
_SEALED = (Rule("execve"), _ADD_FILTER)

# Written, not mapped, such a file counts in no rlimit.
_MEMORY_FILES = _plain("memfd_create")

# Any other answer than ENOTSUP makes an error of `shutil.copy2`, `cp -a` and `ls -l`.
_EXTENDED_ATTRIBUTES = tuple(
    f"{variant}xattr"
    for kind in ("get", "list", "set", "remove")
    for variant in (kind, f"l{kind}", f"f{kind}")
)


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules of an image.

    `sealed` are taken away again once the guest runtime is loaded: they are needed to start it (the
    sandbox's own exec, and the call that takes them away). `grouped` are allowed only where a
    control group limits memory.
    """

    name: str
    rules: tuple[Rule, ...]
    sealed: tuple[Rule, ...]
    absent: tuple[str, ...] = ("clone3",)  # ENOSYS
    unsupported: tuple[str, ...] = _EXTENDED_ATTRIBUTES  # ENOTSUP
    grouped: tuple[Rule, ...] = _MEMORY_FILES


_COMMON = (
    *_FILES, *_MEMORY, *_THREADS, *_PROCESSES, *_SIGNALS, *_TIME, *_WAITING, *_SOCKETS,
    *_SOCKET_KINDS, *_IOCTL,
)  # fmt: skip

# Chromium's own sandbox makes user, pid and network namespaces for its renderers, drops every
# capability, chroots into an empty folder and puts a stricter filter of its own on each of them.
_CHROMIUM = (
    *_plain("chroot capget capset prctl seccomp"),
    Rule("clone", (Where(0, 0, _NEW_FOR_NOBODY),)),
    Rule("unshare", (Where(0, 0, _WORD & ~(_NEW_FOR_CHROMIUM | _FS)),)),
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("python", (*_COMMON, *_CLONE, *_PRCTL), sealed=_SEALED),
        Profile("browser", (*_COMMON, *_CHROMIUM), sealed=()),
    )
}
