"""The upload: received in pieces, verified, executed once, called once a session."""

from __future__ import annotations

import sys

from bento.errors import FunctionError, RemoteProtocolError, UsageError
from bento.protocol.padding import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.guest.api import Api

_ZIP_MAGIC = b"PK\x03\x04"
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_PACKAGES = "/usr/lib/python3/dist-packages"  # what the image offers beside the standard library


class Function:
    """One function, in the making until `load`, then callable by `call`.

    `digest` is the SHA-256 its upload must have, `limit` its size in bytes, `salt` how many bytes of
    the upload come before the code."""

    def __init__(self, digest: bytes, limit: int, salt: int = 0) -> None:
        self._salt = salt
        self._digest = digest
        self._limit = limit
        self._size: int | None = None
        self._code = bytearray()
        self.main: Callable[..., object] | None = None

    @property
    def size(self) -> int | None:
        """What the upload was announced to have."""
        return self._size

    @property
    def received(self) -> int:
        return len(self._code)

    @property
    def complete(self) -> bool:
        return self._size is not None and len(self._code) == self._size

    def begin(self, size: int, offset: int) -> None:
        """An upload of `size` bytes begins, or goes on at `offset`. Raises on a bad size or place."""
        if not 0 < size <= self._limit:
            raise UsageError(
                f"the function has {size} bytes; this box takes at most {self._limit}",
                "send data through the input stream instead of packing it into the function",
            )
        if offset == 0:
            self._code.clear()
        elif size != self._size or offset != self.received:
            raise RemoteProtocolError("the upload goes on at another place than it stopped")
        self._size = size

    def append(self, data: bytes) -> None:
        if self._size is None or self.received + len(data) > self._size:
            raise RemoteProtocolError("more code than the upload announced")
        self._code += data

    def verify(self) -> None:
        """Raises FunctionError unless the upload is the one the box was told."""
        from _sha256 import sha256

        self._code = unpack(self._code, self._limit)
        if sha256(self._code).digest() != self._digest:
            self._code.clear()
            raise FunctionError(
                "the uploaded code is not the function this instance was made for",
                "the upload was damaged, or the box was given another hash",
            )

    def load(self) -> None:
        """Runs the module's top level. Whatever it raises is the function's own failure."""
        sys.path.append(_PACKAGES)
        del self._code[: self._salt]
        module = type(sys)("__function__")
        sys.modules["__function__"] = module
        if self._code.startswith(_ZIP_MAGIC):
            source, name = self._unpack(), "__main__.py"
        else:
            source, name = bytes(self._code), "function.py"
        self._code = bytearray()
        module.__file__ = name
        _remember_source(name, source)
        exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        main = getattr(module, "main", None)
        if not callable(main):
            raise FunctionError("the function has no main(api, …)", "define one at its top level")
        self.main = main

    def _unpack(self) -> bytes:
        from bento.guest.archive import Archive

        archive = Archive(bytes(self._code))
        source = archive.main()
        archive.install()
        return source

    def call(self, api: Api, args: list[object], kwargs: dict[str, object], text: bool) -> None:
        """Runs `main`; bytes or text it returns are sent as well."""
        assert self.main is not None
        if text:
            from bento.guest.arguments import convert

            args, kwargs = convert(self.main, args, kwargs)
        code = getattr(self.main, "__code__", None)
        if code is not None and code.co_flags & _COROUTINE:
            from bento.guest.aio import run

            result = run(self.main, api, args, kwargs)
        else:
            result = self.main(api, *args, **kwargs)
        if isinstance(result, bytes | bytearray | str):
            api.send(result)


def _remember_source(name: str, source: bytes) -> None:
    """Lets a traceback show the lines of a function that is no file."""
    text = source.decode(errors="replace")
    sys.modules["__function__"].__dict__["__loader__"] = _Source(text)
    sys.modules["__function__"].__dict__["__name__"] = "__function__"


class _Source:
    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, name: str) -> str:
        return self._text


def describe(error: BaseException) -> tuple[str, str]:
    """(one sentence, the traceback as text) of what `main` raised, without the runtime's own frames."""
    import traceback

    frames = traceback.TracebackException.from_exception(error)
    own = [i for i, frame in enumerate(frames.stack) if frame.filename.startswith("bento/")]
    if own:
        del frames.stack[: own[-1] + 1 if own[-1] < len(frames.stack) - 1 else len(frames.stack)]
    name = type(error).__name__
    return f"the function raised {name}", "".join(frames.format())
