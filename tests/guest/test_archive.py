"""A zip's modules are imported out of memory, as from any other place."""

import io
import sys
import zipfile

import pytest

from bento.errors import FunctionError
from bento.guest.archive import Archive

FILES = {
    "__main__.py": "from parcel import deep\n",
    "parcel/__init__.py": "from . import deep\n",
    "parcel/deep/__init__.py": "from .leaf import VALUE\n",
    "parcel/deep/leaf.py": "VALUE = 7\ndef fail():\n    raise ValueError('here')\n",
    "parcel/words.txt": "a resource",
}


def zipped(files=FILES):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    made = Archive(zipped())
    made.install()
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == "parcel"]:
        del sys.modules[name]


def test_packages_and_modules_are_found(archive):
    import parcel
    import parcel.deep.leaf

    assert parcel.deep.VALUE == parcel.deep.leaf.VALUE == 7
    with pytest.raises(ModuleNotFoundError):
        import parcel.nothing  # noqa: F401


def test_resources_are_read_in_each_usual_way(archive):
    import pkgutil
    from importlib import resources

    import parcel  # noqa: F401

    assert resources.files("parcel").joinpath("words.txt").read_text() == "a resource"
    assert pkgutil.get_data("parcel", "words.txt") == b"a resource"
    with pytest.raises(FileNotFoundError):
        pkgutil.get_data("parcel", "nothing.txt")


def test_a_traceback_shows_the_lines(archive):
    import traceback

    import parcel.deep.leaf

    with pytest.raises(ValueError, match="here") as raised:
        parcel.deep.leaf.fail()
    assert "raise ValueError('here')" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("data", [b"PK\3\4 nonsense", zipped({"other.py": ""})])
def test_what_is_no_function_is_refused(data):
    with pytest.raises(FunctionError):
        Archive(data).main()
