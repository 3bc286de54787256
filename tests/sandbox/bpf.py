"""An interpreter of classic BPF as seccomp runs it (linux/filter.h, seccomp(2)), for tests."""

from __future__ import annotations

import struct

ALLOW = 0x7FFF0000
KILL = 0x80000000
X86_64, I386 = 0xC000003E, 0x40000003


def errno_of(verdict: int) -> int | None:
    """The errno that a verdict answers with, if it does."""
    return verdict & 0xFFFF if verdict >> 16 == 0x5 else None


def verdict(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """What `program` says of the call `number`."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=iIQ6Q", number - (1 << 32) if number >> 31 else number, arch, 0, *padded)
    lines = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        match code:
            case 0x20:  # load a word
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:  # and
                accumulator &= value
            case 0x05:  # jump
                at += value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x25:
                at += if_true if accumulator > value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                return value
            case _:
                raise AssertionError(f"an instruction that was not expected: {code:#x}")
