"""Ordinary network code inside a sandbox that has only loopback and one SOCKS5 proxy.

`install` costs nothing until user code imports `socket` or `asyncio`; then a few methods are
replaced so that TCP connections to anywhere but this sandbox itself go through the proxy. The
proxy is the box's; it resolves names, judges and explains. All this is convenience: the network
namespace is the guarantee, and nothing breaks for the box if a function takes the patches off.

    network   the import hook: this file, all that is loaded before somebody imports `socket`
    names     getaddrinfo and its kin, which ask nobody
    dial      socket.socket: where a connection goes, and the exchange with the proxy
    loops     the same for asyncio, without holding up its loop

Part of the blob injected into every sandbox: at import it may import nothing but sys.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

proxy_port = 1080


def install(port: int = 1080) -> None:
    """Make `socket` and `asyncio` use the proxy on 127.0.0.1:`port`. Call it once, before user
    code."""
    global proxy_port
    proxy_port = port
    for name in tuple(_patches):
        if name in sys.modules:
            _patches.pop(name)(sys.modules[name])
    if _patches:
        sys.meta_path.insert(0, _Finder)


def replace(place: object, functions: "dict[str, Callable[..., Any]]") -> None:
    """Put functions in the place of others, under the names of those."""
    for name, function in functions.items():
        function.__name__ = function.__qualname__ = name
        setattr(place, name, function)


def _patch_socket(module: "ModuleType") -> None:
    from bento.guest import dial, names

    names.patch(module)
    dial.patch(module)


def _patch_resolver(module: "ModuleType") -> None:
    from bento.guest import loops

    loops.patch_resolver(module)


def _patch_loop(module: "ModuleType") -> None:
    from bento.guest import loops

    loops.patch_connect(module)


_patches: "dict[str, Callable[[ModuleType], None]]" = {
    "socket": _patch_socket,
    "asyncio.base_events": _patch_resolver,
    "asyncio.selector_events": _patch_loop,
}


class _Finder:
    """Finds the modules to patch where the other finders do, and lends them another loader."""

    @staticmethod
    def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name not in _patches:
            return None
        for finder in sys.meta_path:
            if finder is _Finder:
                continue
            spec: Any = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Loads a module as its own loader would, then patches it."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: "Any") -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        patch = _patches.pop(module.__name__, None)
        if patch:
            patch(module)
        if not _patches and _Finder in sys.meta_path:
            sys.meta_path.remove(_Finder)
