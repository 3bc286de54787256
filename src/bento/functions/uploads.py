"""A function of several files as the one zip that travels: the same bytes on every machine, since their
SHA-256 is the function's hash."""

from __future__ import annotations

import zipfile
from importlib import resources
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING

from bento.functions.lean import lean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DATE = (1980, 1, 1, 0, 0, 0)
_END = "# ///\n"


def packed(
    package: str,
    names: Iterable[str],
    *,
    shared: Mapping[str, str] = MappingProxyType({}),
    entry: str = "guest",
) -> bytes:
    """The files `names` of `package` as a package of its last word, with copies of those `shared` with other
    packages, and a `__main__.py` with the manifest of its guest.py that takes the `main` of `entry`.

    Without comments and docstrings (`lean`)."""
    word = package.rpartition(".")[2]
    sources = resources.files(package)
    files = {f"{word}/{name}": (sources / name).read_text("utf-8") for name in names}
    files |= {
        f"{word}/{name}": (resources.files(other) / name).read_text("utf-8")
        for name, other in shared.items()
    }
    start = f"from {word}.{entry} import main\n\n__all__ = ['main']\n"
    files["__main__.py"] = _manifest(files[f"{word}/guest.py"]) + start
    return archived(
        {name: text if name == "__main__.py" else lean(text) for name, text in files.items()}
    )


def archived(files: Mapping[str, str]) -> bytes:
    """Path -> text, as the zip: sorted, with a fixed date, and stored as they are (two zlibs may compress
    alike text differently)."""
    upload = BytesIO()
    with zipfile.ZipFile(upload, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, on every machine
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return upload.getvalue()


def _manifest(source: str) -> str:
    """The inline manifest at the top of a function's source, with its two fences."""
    return source[: source.index(_END) + len(_END)]
