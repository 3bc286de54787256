"""Makes classic BPF of the system-call table, by libseccomp.

Compiling takes a few milliseconds, so the bytes are kept: one compilation per profile and process.
The result is what bubblewrap's `--seccomp`, seccomp(2) and PR_SET_SECCOMP take.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache
from itertools import pairwise

from bento.errors import HostError
from bento.sandbox.seccomp_table import PROFILES, Profile, Rule, Where

# seccomp.h of libseccomp 2.5
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ATTRIBUTE_BAD_ARCH = 2
_ATTRIBUTE_OPTIMIZE = 8
_BINARY_TREE = 2
_MASKED_EQUAL = 7
_UNKNOWN = -1  # __NR_SCMP_ERROR; other negative numbers: a call this machine has not got

_X32_BIT = 0x40000000  # of a call number
_LAST_NUMBER = 1023  # numbers up to here are told apart; all above are unknown


class _Condition(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    ]


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise HostError(f"libseccomp is missing: {error}", "apt-get install libseccomp2") from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Condition),
    ]
    return library


def call_number(name: str) -> int | None:
    """The number of a system call on this machine; None if it has no such call.

    Raises HostError for a name that libseccomp does not know at all.
    """
    number = int(_library().seccomp_syscall_resolve_name(name.encode()))
    if number == _UNKNOWN:
        raise HostError(f"libseccomp does not know the call {name}", "install libseccomp 2.5.4")
    return number if number >= 0 else None


@cache
def known_numbers() -> frozenset[int]:
    """The call numbers that libseccomp has a name for on this machine."""
    library = _library()
    native = library.seccomp_arch_native()
    return frozenset(
        number for number in range(_LAST_NUMBER + 1) if _is_known(library, native, number)
    )


def _is_known(library: ctypes.CDLL, arch: int, number: int) -> bool:
    name = library.seccomp_syscall_resolve_num_arch(arch, number)
    if name:
        _free(name)
    return bool(name)


def _free(pointer: int) -> None:
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(pointer)


class _Filter:
    """A libseccomp filter under construction. Use with `with`."""

    def __init__(self, default: int) -> None:
        self._library = _library()
        self._context = self._library.seccomp_init(default)
        if not self._context:
            raise HostError("libseccomp could not make a filter")
        self._set(_ATTRIBUTE_BAD_ARCH, _KILL_PROCESS)
        self._set(_ATTRIBUTE_OPTIMIZE, _BINARY_TREE)

    def __enter__(self) -> _Filter:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.seccomp_release(self._context)

    def _set(self, attribute: int, value: int) -> None:
        _check(self._library.seccomp_attr_set(self._context, attribute, value), "attribute")

    def add(self, action: int, rule: Rule) -> None:
        number = call_number(rule.call)
        if number is None:
            return
        conditions = (_Condition * len(rule.where))(*map(_condition, rule.where))
        result = self._library.seccomp_rule_add_array(
            self._context, action, number, len(conditions), conditions
        )
        _check(result, f"rule for {rule.call}")

    def export(self) -> bytes:
        descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
        try:
            _check(self._library.seccomp_export_bpf(self._context, descriptor), "export")
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)


def _condition(where: Where) -> _Condition:
    return _Condition(where.index, _MASKED_EQUAL, where.mask, where.value)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise HostError(f"libseccomp refused the {what}: {os.strerror(-result)}")


# Classic BPF, linux/bpf_common.h; fields of struct seccomp_data by offset.
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _unknown_prologue() -> bytes:
    """Instructions that answer ENOSYS for numbers nothing is known of, and go on otherwise.

    libseccomp has one default answer for all calls without a rule, and it must be EPERM here.
    """
    gaps = _gaps(sorted(known_numbers()))
    body = b""
    for low, high in gaps:
        body += _instruction(_JUMP_GREATER, low - 1, 0, 2)
        body += _instruction(_JUMP_GREATER, high, 1, 0)
        body += _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    skip = len(body) // 8 + 1
    return (
        _instruction(_LOAD, _OFFSET_ARCH)
        + _instruction(_JUMP_EQUAL, _library().seccomp_arch_native(), 0, skip)
        + _instruction(_LOAD, _OFFSET_NUMBER)
        + body
    )


def _gaps(known: list[int]) -> list[tuple[int, int]]:
    """The runs of unknown numbers between and above the known ones, below the x32 bit."""
    edges = [*known, _X32_BIT]
    return [(low + 1, high - 1) for low, high in pairwise(edges) if high > low + 1]


@cache
def program(name: str, *, grouped: bool) -> bytes:
    """The BPF program of the profile `name`, loaded before anything of the sandbox runs.

    `grouped` where a control group limits memory: some calls are allowed only there.
    """
    profile = PROFILES[name]
    with _Filter(_ERRNO | errno.EPERM) as filter_:
        for rule in (*profile.rules, *(profile.grouped if grouped else ())):
            filter_.add(_ALLOW, rule)
        for error, calls in ((errno.ENOSYS, profile.absent), (errno.ENOTSUP, profile.unsupported)):
            for call in calls:
                filter_.add(_ERRNO | error, Rule(call))
        return _unknown_prologue() + filter_.export()


@cache
def seal(name: str) -> bytes:
    """The BPF program that the loader puts on top before the guest runtime runs; may be empty."""
    profile: Profile = PROFILES[name]
    if not profile.sealed:
        return b""
    with _Filter(_ALLOW) as filter_:
        for rule in profile.sealed:
            filter_.add(_ERRNO | errno.EPERM, rule)
        return filter_.export()
