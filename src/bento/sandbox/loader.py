"""The first Python inside: reads the guest runtime, tidies the descriptors, seals the jail.

The sandbox starts it as `python3 -I -S -c TEXT` with

    0  the listening socket      1  the runtime, a sealed memory file      2  the diagnosis file

and it hands on to the runtime

    0, 1  the sandbox's /dev/null      2  the diagnosis file      3  the listening socket
    4     the runtime, whose first 64 KiB hold the code object that is run; of what follows that code
          reads what it needs, when it needs it

It imports only what is built in or small (`_ctypes`, where an image
seals its jail), as every import is paid at each start. Its text is visible inside, and holds
nothing of the machine.
"""

from __future__ import annotations

from pathlib import Path

_TEXT = """\
import marshal, posix
code = marshal.loads(posix.pread(1, 1 << 16, 0))
posix.dup2(0, 3)
posix.dup2(1, 4, False)
null = posix.open('/dev/null', posix.O_RDWR)
posix.dup2(null, 0)
posix.dup2(null, 1)
posix.close(null)
"""

# PR_SET_SECCOMP with a struct sock_fprog made by hand: `import ctypes` would cost 8 ms.
# The bytes of a bytes object begin at its address plus its fixed size less the final NUL.
_SEAL = """\
import _ctypes
def seal(program):
    start = id(program) + bytes.__basicsize__ - 1
    fprog = (len(program) // 8).to_bytes(8, 'little') + start.to_bytes(8, 'little')
    prctl = _ctypes.dlsym(_ctypes.dlopen(None, 2), 'prctl')
    if _ctypes.call_function(prctl, (22, 2, fprog, 0, 0)):
        raise SystemExit('the jail could not be sealed')
seal({program!r})
"""

_RUN = """\
exec(code, {'__name__': '__main__', '__builtins__': __builtins__})
"""


# An OCI runtime has no gate of its own: the interpreter waits at descriptor 3.
_GATE = """\
import posix
posix.read(3, 1)
posix.close(3)
"""


def text(*filters: bytes, gate: bool = False, carried: bool = False) -> str:
    """The loader's source. `filters` are BPF programs to put on, in this order (empty ones are left
    out); with `carried` its first process is a `ferry`."""
    ferry = Path(__file__).with_name("ferry.py").read_text() + "\nferry()\n" if carried else ""
    seals = "".join(_SEAL.format(program=one) for one in filters if one)
    return ferry + (_GATE if gate else "") + _TEXT + seals + _RUN
