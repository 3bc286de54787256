"""A guest of the tests' own: runs the Python it is sent, and answers with `repr(result)`.

Once `keep` is true it lives on without its control connection, and accepts another.
"""

from __future__ import annotations

import ast
import asyncio
import struct
import subprocess
import textwrap
from functools import cache
from typing import Any

from bento.sandbox import Sandbox

_GUEST = """
import _socket, posix
egress = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
egress.bind(("127.0.0.1", 1080))
egress.listen(16)
door = _socket.socket(fileno=3)
rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, egress.fileno().to_bytes(4, "little"))

def accept():
    global control
    control = space["control"] = _socket.socket(fileno=door._accept()[0])
    assert control.recv(1) == b"C"
    control.sendmsg([b"ready"], [rights])

def read(size):
    data = b""
    while len(data) < size:
        part = control.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data

space = {"egress": egress, "door": door, "keep": False}
accept()
while True:
    try:
        code = read(int.from_bytes(read(4), "big")).decode()
    except EOFError:
        if not space["keep"]:
            posix._exit(0)
        accept()
        continue
    space["result"] = None
    try:
        exec(compile(code, "<test>", "exec"), space)
        answer = repr(space["result"])
    except BaseException as error:
        answer = "!" + type(error).__name__ + ": " + str(error)
    control.sendall(len(answer.encode()).to_bytes(4, "big") + answer.encode())
"""

_COMPILE = (
    "import sys, marshal;"
    "sys.stdout.buffer.write(marshal.dumps(compile(sys.stdin.read(), '<guest>', 'exec')))"
)


@cache
def blob(source: str = _GUEST) -> bytes:
    """`source` compiled by the interpreter that the sandbox runs."""
    command = ["/usr/bin/python3", "-I", "-S", "-c", _COMPILE]
    done = subprocess.run(command, input=source.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout


class Failed(Exception):
    """The code inside raised."""


async def start(sandbox: Sandbox, code: str) -> None:
    """Begins to run `code` inside; its answer is for `answer`."""
    data = textwrap.dedent(code).encode()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sandbox.control, struct.pack("!I", len(data)) + data)


async def answer(sandbox: Sandbox) -> Any:
    """`result` of the code that was started. Raises EOFError if the guest ended."""
    (size,) = struct.unpack("!I", await _read(sandbox, 4))
    text = (await _read(sandbox, size)).decode()
    if text.startswith("!"):
        raise Failed(text[1:])
    return ast.literal_eval(text)


async def run(sandbox: Sandbox, code: str) -> Any:
    """Runs `code` inside; what it left in `result`."""
    await start(sandbox, code)
    return await answer(sandbox)


async def _read(sandbox: Sandbox, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            part = await asyncio.get_running_loop().sock_recv(sandbox.control, size - len(data))
        except ConnectionError:
            part = b""
        if not part:
            raise EOFError("the guest ended")
        data += part
    return data
