"""Imports the modules of an uploaded zip out of memory: in a conclave nothing of a function lies on
disk, and elsewhere the disk is left to the function. Loaded when a function is a zip.
"""

from __future__ import annotations

import io
import sys
import zipfile
from importlib.machinery import ModuleSpec

from bento.errors import FunctionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

NAME = "function.zip"  # what tracebacks call it


class Archive:
    """A finder and loader, as importlib asks for; resources and tracebacks work through it too."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile as error:
            raise FunctionError(f"the zip cannot be read: {error}") from None
        self._names = frozenset(self._zip.namelist())

    def main(self) -> bytes:
        """The function itself. Raises FunctionError without a __main__.py."""
        if "__main__.py" not in self._names:
            raise FunctionError("the zip has no __main__.py", "put main(api, …) there")
        return self._zip.read("__main__.py")

    def install(self) -> None:
        """From now on its modules are found, before any others."""
        sys.meta_path.insert(0, self)

    # -- importlib's questions -------------------------------------------------------------------

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        found = self._find(name)
        if found is None:
            return None
        package = found.endswith("__init__.py")
        spec = ModuleSpec(name, self, origin=f"{NAME}/{found}", is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [f"{NAME}/{found.rpartition('/')[0]}"]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102

    def get_code(self, name: str) -> CodeType:
        found = self._found(name)
        return compile(self._zip.read(found), f"{NAME}/{found}", "exec", dont_inherit=True)

    def get_source(self, name: str) -> str:
        return self._zip.read(self._found(name)).decode(errors="replace")

    def get_data(self, path: str) -> bytes:
        """For pkgutil: a file of the zip, by the path its modules say they have."""
        try:
            return self._zip.read(path.removeprefix(f"{NAME}/"))
        except KeyError:
            raise FileNotFoundError(path) from None

    def get_resource_reader(self, name: str) -> _Resources:
        return _Resources(zipfile.Path(self._zip, self._found(name).rpartition("/")[0] + "/"))

    def _find(self, name: str) -> str | None:
        base = name.replace(".", "/")
        return next((n for n in (f"{base}/__init__.py", f"{base}.py") if n in self._names), None)

    def _found(self, name: str) -> str:
        found = self._find(name)
        if found is None:
            raise ImportError(f"{name} is not in {NAME}", name=name)
        return found


class _Resources:
    """What importlib.resources asks for."""

    def __init__(self, folder: zipfile.Path) -> None:
        self._folder = folder

    def files(self) -> zipfile.Path:
        return self._folder
