"""A small program of its own that starts bubblewrap; the only code between bentod and a sandbox.

bentod runs it once, as `python3 -I -S jailer.py` with a SOCK_SEQPACKET socket as descriptor 0, and
it ends when that does. It exists because only a process itself can enter a control group without a
pause of 10 to 20 ms (the kernel waits until no fork is under way anywhere), because it is small and
single-threaded where bentod is neither, and so that what runs with privilege is read at a glance.

Each request is one packet: a marshalled dict, and descriptors by SCM_RIGHTS: a socket for the reply,
then those of the child, which has them as 0, 1, 2 and so on. The child

    1  is born in, or enters, the control groups of its instance
    2  is last for the cpu and the disks, first for the out-of-memory killer
    3  becomes the instance's user, for good
    4  makes a user and a mount namespace, with the instance's disk in it: a tmpfs on /tmp
    5  bounds itself by rlimits
    6  becomes bubblewrap, with an empty environment and no descriptors but those of the request

An OCI runtime is started in 6 instead, on a bundle that is laid out for it. It has no more privilege
than bubblewrap; the child ends when it has told which process is the sandbox's first.

Every fork copies this program's memory: it imports nothing of Bento and little else.
"""

from __future__ import annotations

import _socket
import ctypes
import marshal
import os
import resource
import signal
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypedDict

    class Request(TypedDict):
        """What `launch` asks for."""

        command: list[str]
        uid: int | None  # None: stay who we are
        tasks: list[str]  # files of version 1 control groups
        unified: str | None  # folder of a version 2 control group
        nice: int
        io_priority: tuple[int, int]  # number of the call ioprio_set here, and its value
        oom_score_adj: int
        rlimits: list[tuple[int, int]]
        disk: int  # bytes
        inodes: int
        bundle: bool  # an OCI runtime's: descriptor 5 holds it, 4 takes the first process's number
        identity: int | None  # our user's number in the namespace made in 4; None: unchanged


_LONGEST_REQUEST = 8192  # bytes
_MOST_DESCRIPTORS = 16
_NUMBERS_END = 1 << 30  # close_range(2) takes no time for numbers that are not open

_SYS_CLONE3 = 435  # the same on every architecture
_CLONE_PIDFD = 0x1000
_CLONE_INTO_CGROUP = 0x2_0000_0000
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 0x4000, 0x40000
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36

_IOPRIO_WHO_PROCESS = 1
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1

_INFO, _BUNDLE = 4, 5  # descriptors of the child that runs a bundle
_RUNTIME_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "XDG_RUNTIME_DIR": "/run"}

# PyDLL: the interpreter lock stays with us, as in os.fork.
_libc = ctypes.PyDLL(None, use_errno=True)


def serve(requests: _socket.socket) -> None:
    """Answers requests until bentod is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits: the kernel reaps
    # What a killed bubblewrap leaves comes to us, as not every machine's init reaps.
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
    while True:
        packet, descriptors = _receive(requests)
        if not packet:
            return
        reply = _socket.socket(fileno=descriptors[0])
        request: Request = marshal.loads(packet)  # noqa: S302 - bentod's, our parent's
        try:
            _answer(request, reply, descriptors[1:])
        except BrokenPipeError:  # bentod is gone: so is the next request
            pass
        except OSError as error:
            reply.send(str(error).encode())
        finally:
            reply.close()
            for descriptor in descriptors[1:]:
                os.close(descriptor)


def _receive(requests: _socket.socket) -> tuple[bytes, list[int]]:
    space = _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
    packet, ancillary, _, _ = requests.recvmsg(_LONGEST_REQUEST, space, _socket.MSG_CMSG_CLOEXEC)
    return packet, [
        number for _, _, data in ancillary for (number,) in struct.iter_unpack("i", data)
    ]


def _answer(request: Request, reply: _socket.socket, descriptors: list[int]) -> None:
    pid, pidfd = _fork(request["unified"])
    if pid == 0:
        _become_bubblewrap(request, descriptors)
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", pidfd))
    reply.sendmsg([str(pid).encode()], [rights])
    os.close(pidfd)


def _fork(group: str | None) -> tuple[int, int]:
    """fork(), with the child born in the version 2 control group `group`: (pid, pidfd); in the
    child (0, -1)."""
    if group is None:
        pid = os.fork()
        return (pid, os.pidfd_open(pid)) if pid else (0, -1)
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _fork_into(folder)
    finally:
        os.close(folder)


def _fork_into(group: int) -> tuple[int, int]:
    pidfd = ctypes.c_int(-1)
    # struct clone_args, linux/sched.h: flags, pidfd, 2 unused, signal, 5 unused, cgroup
    arguments = struct.pack(
        "=11Q",
        *(_CLONE_PIDFD | _CLONE_INTO_CGROUP, ctypes.addressof(pidfd), 0, 0),
        *(signal.SIGCHLD, 0, 0, 0, 0, 0, group),
    )
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc.syscall(_SYS_CLONE3, arguments, ctypes.c_size_t(len(arguments)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid, pidfd.value


def _become_bubblewrap(request: Request, descriptors: list[int]) -> NoReturn:
    try:
        _place(descriptors)
        _reset_signals()
        for path in request["tasks"]:
            _write(path, "0")
        os.setpriority(os.PRIO_PROCESS, 0, request["nice"])
        ioprio_set, value = request["io_priority"]
        _check(_libc.syscall(ioprio_set, _IOPRIO_WHO_PROCESS, 0, value), "i/o priority")
        _write("/proc/self/oom_score_adj", str(request["oom_score_adj"]))
        if request["uid"] is not None:
            _become_user(request["uid"])
        _make_disk(request["disk"], request["inodes"], request["identity"])
        if request["bundle"]:
            _run_bundle(request["command"])
        # Only now: RLIMIT_NPROC set any earlier would also bound, for the namespace just made, all
        # processes that our user has outside (each level is checked, user_namespaces(7)).
        for which, value in request["rlimits"]:
            resource.setrlimit(which, (value, value))
        os.execve(request["command"][0], request["command"], {})  # noqa: S606
    except BaseException as error:
        os.write(2, f"jailer: {error}\n".encode())
    finally:
        os._exit(1)


def _reset_signals() -> None:
    """What is ignored or blocked stays so through exec: our own choices, and those of whoever started us."""
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _place(descriptors: list[int]) -> None:
    """Moves the request's descriptors to 0, 1, 2 and so on, and closes all others."""
    # The kernel gave them ascending numbers, each above its place: none is overwritten unmoved.
    for place, descriptor in enumerate(descriptors):
        assert descriptor > place
        os.dup2(descriptor, place)
    os.closerange(len(descriptors), _NUMBERS_END)


def _become_user(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # Without this /proc/self would still be root's, and the maps below not ours to write.
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")


def _make_disk(size: int, inodes: int, identity: int | None) -> None:
    uid, gid = os.getuid(), os.getgid()
    inner_uid, inner_gid = (uid, gid) if identity is None else (identity, identity)
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "namespaces")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/gid_map", f"{inner_gid} {gid} 1")
    _write("/proc/self/uid_map", f"{inner_uid} {uid} 1")
    _mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    options = f"size={size},nr_inodes={inodes},mode=0700"
    _mount(b"disk", b"/tmp", b"tmpfs", _MS_NOSUID | _MS_NODEV, options.encode())


def _run_bundle(command: list[str]) -> NoReturn:
    """Runs an OCI runtime until it has detached, and tells the sandbox's first process."""
    with open(_BUNDLE, "rb") as file:
        bundle = marshal.load(file)  # noqa: S302 - bentod's, our parent's
    _check(_libc.unshare(_CLONE_NEWNET), "network namespace")
    _loopback_up()
    _mount(b"bundle", b"/run", b"tmpfs", _MS_NOSUID | _MS_NODEV, b"size=2m,mode=0700")
    if bundle["namespaces"]:
        _write("/proc/sys/user/max_user_namespaces", bundle["namespaces"])
    for folder in bundle["hidden"]:
        _mount(b"none", folder, b"tmpfs", _MS_NOSUID | _MS_NODEV, b"size=4k")
    os.chdir("/run")
    for folder in bundle["folders"]:
        os.mkdir(folder)  # noqa: PTH102 - pathlib would double this program's memory
    for link, target in bundle["links"].items():
        os.symlink(target, link)  # noqa: PTH211
    for path, content in bundle["files"].items():
        with open(path, "wb") as file:
            file.write(content)
    runtime = os.fork()
    if runtime == 0:
        os.closerange(_INFO, _NUMBERS_END)
        os.execve(command[0], command, _RUNTIME_ENVIRONMENT)  # noqa: S606
    os.waitpid(runtime, 0)
    with open("/run/pid") as file:
        os.write(_INFO, b'{"child-pid": %d}' % int(file.read()))
    os._exit(0)


def _loopback_up() -> None:
    request = struct.pack("16sh", b"lo", _IFF_UP).ljust(40, b"\0")
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    _check(_libc.ioctl(probe.fileno(), _SIOCSIFFLAGS, request), "loopback")
    probe.close()


def _mount(
    source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None
) -> None:
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data), "mount")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    serve(_socket.socket(fileno=0))
