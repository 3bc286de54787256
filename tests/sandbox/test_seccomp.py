"""The filter allows what the table names and nothing else; first on paper, then by the kernel."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sandbox.bpf import ALLOW, I386, KILL, errno_of, verdict
from tests.sandbox.inside import Failed, run

from bento.errors import HostError
from bento.sandbox import Sandbox
from bento.sandbox.seccomp import call_number, known_numbers, program, seal
from bento.sandbox.seccomp_table import PROFILES

X32 = 0x40000000
MOST_ALLOWED = 175  # R2
# uretprobe and uprobe: no filter is asked (Linux 6.14), and a caller who is not a probe dies.
KERNELS_OWN = {335, 336}


def words(text: str) -> list[str]:
    return text.split()


NEVER = words("""
    setns mount umount2 pivot_root ptrace process_vm_readv process_vm_writev bpf
    perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key
    request_key kexec_load init_module finit_module delete_module open_by_handle_at
    name_to_handle_at personality quotactl swapon swapoff reboot settimeofday clock_settime adjtimex
    msgget semget shmget shmat mknod mknodat acct sethostname setdomainname iopl ioperm modify_ldt
    move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr syslog vhangup lookup_dcookie
    kcmp pidfd_getfd fanotify_init
""")
NEVER_IN_PYTHON = words("unshare chroot capset setuid setresuid setgroups seccomp execveat")


def number(call: str) -> int:
    found = call_number(call)
    assert found is not None
    return found


def allowed(profile: str) -> set[str]:
    return {rule.call for rule in (*PROFILES[profile].rules, *PROFILES[profile].grouped)}


def refusal(profile: str, candidate: int) -> int:
    """The errno that a call outside the list ends with."""
    row = PROFILES[profile]
    if candidate not in known_numbers() or candidate in map(number, row.absent):
        return errno.ENOSYS
    return errno.ENOTSUP if candidate in map(number, row.unsupported) else errno.EPERM


@pytest.fixture(params=sorted(PROFILES))
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_call_of_the_table_is_allowed_with_arguments_that_meet_its_conditions(
    profile: str,
) -> None:
    for rule in PROFILES[profile].rules:
        arguments = [0] * 6
        for where in rule.where:
            arguments[where.index] |= where.value
        code = program(profile, grouped=True)
        assert verdict(code, number(rule.call), *arguments) == ALLOW, rule


def test_every_other_number_is_refused_unknown_ones_as_missing(profile: str) -> None:
    names = {number(call) for call in allowed(profile)}
    code = program(profile, grouped=True)
    for candidate in (*range(2048), 0x3FFFFFFF):
        if candidate not in names:
            found = errno_of(verdict(code, candidate, 0, 0, 0))
            assert found == refusal(profile, candidate), candidate


def test_a_strict_profile_allows_few_calls() -> None:
    assert len(allowed("python")) <= MOST_ALLOWED


@pytest.mark.parametrize("call", NEVER)
def test_the_calls_that_break_jails_are_refused_in_every_image(profile: str, call: str) -> None:
    assert errno_of(verdict(program(profile, grouped=True), number(call))) == errno.EPERM


@pytest.mark.parametrize("call", NEVER_IN_PYTHON)
def test_the_calls_that_only_a_browser_needs_are_refused_elsewhere(call: str) -> None:
    assert errno_of(verdict(program("python", grouped=True), number(call))) == errno.EPERM


@given(st.integers(0, 1000))
def test_a_call_of_another_abi_ends_the_process(candidate: int) -> None:
    for profile in PROFILES:
        code = program(profile, grouped=True)
        assert verdict(code, candidate, arch=I386) == KILL
        assert verdict(code, candidate | X32) == KILL


UNIX, STREAM, DGRAM, SEQPACKET, TCP, UDP = 1, 1, 2, 5, 6, 17
SOCKETS = {(UNIX, kind, 0) for kind in (STREAM, DGRAM, SEQPACKET)} | {
    (family, kind, protocol)
    for family in (2, 10)
    for kind, protocol in ((STREAM, 0), (STREAM, TCP), (DGRAM, 0), (DGRAM, UDP))
}


@given(
    st.one_of(
        st.sampled_from(sorted(SOCKETS)), st.tuples(*[st.integers(0, n) for n in (64, 15, 300)])
    ),
    st.integers(0, (1 << 28) - 1),
)
def test_only_unix_tcp_and_udp_sockets(socket: tuple[int, int, int], flags: int) -> None:
    family, kind, protocol = socket
    for profile in PROFILES:
        code = program(profile, grouped=True)
        found = verdict(code, number("socket"), family, kind | flags << 4, protocol)
        assert found == ALLOW if socket in SOCKETS else errno_of(found) == errno.EPERM


NAMESPACES = {
    "time": 0x80,
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "host name": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
CHROMIUMS = {"user", "pid", "network"}


@given(st.integers(0, (1 << 32) - 1), st.sets(st.sampled_from(sorted(NAMESPACES))))
def test_no_fork_makes_a_namespace_but_chromiums_three(flags: int, names: set[str]) -> None:
    flags = flags & ~sum(NAMESPACES.values()) | sum(NAMESPACES[name] for name in names)
    for profile, fine in (("python", not names), ("browser", names <= CHROMIUMS)):
        found = verdict(program(profile, grouped=True), number("clone"), flags)
        assert found == ALLOW if fine else errno_of(found) == errno.EPERM


@given(st.sampled_from([1 << bit for bit in range(32)]))
def test_a_browser_unshares_nothing_else(flag: int) -> None:
    fine = flag == 0x200 or flag in (NAMESPACES[name] for name in CHROMIUMS)
    found = verdict(program("browser", grouped=True), number("unshare"), flag)
    assert found == ALLOW if fine else errno_of(found) == errno.EPERM


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_the_upper_half_of_an_int_argument_hides_nothing(low: int, high: int) -> None:
    """The kernel reads 32 bits of ioctl's request; so must the filter (CVE-2019-10063)."""
    code = program("python", grouped=True)
    plain = verdict(code, number("ioctl"), 0, low)
    assert verdict(code, number("ioctl"), 0, low | high << 32) == plain


def test_no_ioctl_types_into_a_terminal() -> None:
    for request in (0x5412, 0x541C):  # TIOCSTI, TIOCLINUX
        found = verdict(program("python", grouped=True), number("ioctl"), 0, request)
        assert errno_of(found) == errno.EPERM


def test_the_seal_takes_away_exec_and_itself_and_nothing_else() -> None:
    code = seal("python")
    assert errno_of(verdict(code, number("execve"))) == errno.EPERM
    assert errno_of(verdict(code, number("prctl"), 22, 2)) == errno.EPERM
    assert verdict(code, number("prctl"), 15) == ALLOW
    for call in allowed("python") - {"execve", "prctl"}:
        assert verdict(code, number(call)) == ALLOW
    assert seal("browser") == b""


def test_memory_files_are_allowed_only_where_a_group_counts_them() -> None:
    code = program("python", grouped=False)
    assert errno_of(verdict(code, number("memfd_create"))) == errno.EPERM


def test_no_rule_is_written_twice(profile: str) -> None:
    rules = (*PROFILES[profile].rules, *PROFILES[profile].grouped)
    assert len(set(rules)) == len(rules)
    unconditional = {rule.call for rule in rules if not rule.where}
    assert not [rule for rule in rules if rule.where and rule.call in unconditional]


def test_no_rule_is_idle(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of them what it allows is refused: no other rule allows it as well."""
    whole = PROFILES[profile]
    for rule in whole.rules:
        rest = tuple(other for other in whole.rules if other != rule)
        monkeypatch.setitem(PROFILES, profile, replace(whole, rules=rest))
        arguments = [0] * 6
        for where in rule.where:
            arguments[where.index] |= where.value
        code = program.__wrapped__(profile, grouped=True)
        assert verdict(code, number(rule.call), *arguments) != ALLOW, rule


def test_a_call_with_an_unknown_name_is_an_error_not_a_hole() -> None:
    with pytest.raises(HostError):
        call_number("no_such_call")


# -- the kernel's word ------------------------------------------------------------------------------

_CALLS = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    def call(number, *arguments):
        ctypes.set_errno(0)
        return libc.syscall(number, *arguments), ctypes.get_errno()
"""


async def test_the_kernel_refuses_every_call_outside_the_list(sandbox: Sandbox) -> None:
    ours = {number(call) for call in allowed("python")}
    refused = sorted({*range(471)} - ours - KERNELS_OWN)
    await run(sandbox, _CALLS)
    answers = await run(sandbox, f"result = [call(n, 0, 0, 0, 0, 0, 0) for n in {refused}]")
    for candidate, (value, error) in zip(refused, answers, strict=True):
        assert value == -1
        assert error == refusal("python", candidate), candidate


async def test_the_kernel_refuses_sealed_calls(sandbox: Sandbox) -> None:
    for code in (
        "import os; os.execv('/usr/bin/true', ['true'])",
        "import subprocess; subprocess.run(['/usr/bin/true'])",
    ):
        with pytest.raises(Failed, match="PermissionError"):
            await run(sandbox, code)


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_NETLINK", "AF_PACKET", "AF_ALG"])
async def test_the_kernel_refuses_other_sockets(sandbox: Sandbox, family: str) -> None:
    with pytest.raises(Failed, match="PermissionError"):
        await run(sandbox, f"import socket; socket.socket(socket.{family}, 1)")


_MACHINE_CODE = """
    import ctypes, mmap, os, signal
    def run_in_a_child(code):
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(code)
        child = os.fork()
        if child == 0:
            ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize(
    "code",
    [
        b"\xb8\x14\x00\x00\x00\xcd\x80\xc3",  # mov eax, 20 (getpid of i386); int 0x80; ret
        b"\xb8\x27\x00\x00\x40\x0f\x05\xc3",  # mov eax, 39 | x32; syscall; ret
    ],
    ids=["i386", "x32"],
)
async def test_machine_code_of_another_abi_is_killed(sandbox: Sandbox, code: bytes) -> None:
    await run(sandbox, _MACHINE_CODE)
    assert await run(sandbox, f"result = run_in_a_child({code!r})") == -31  # SIGSYS


async def test_machine_code_of_our_abi_meets_the_same_filter(sandbox: Sandbox) -> None:
    await run(sandbox, _MACHINE_CODE)
    # mov eax, 101 (ptrace); syscall; neg eax; mov edi, eax; mov eax, 231 (exit_group); syscall
    ptrace = b"\xb8\x65\x00\x00\x00\x0f\x05\xf7\xd8\x89\xc7\xb8\xe7\x00\x00\x00\x0f\x05"
    assert await run(sandbox, f"result = run_in_a_child({ptrace!r})") == errno.EPERM
