"""The sites: pages of Debian's documentation packages and of npm packages, fetched once into a cache.

`packages.tsv` names each package with its version and SHA-256, `sites.tsv` the page of each site. No content
is kept in the repository. An archive may have dropped a version since: then its present one is taken and
`Corpus.drifted` says so, for a run is compared with nothing but itself.
"""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import tarfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO

from bento.errors import HostError

WEB_NET = "127.80.14"
"""Each site has an address of its own in "the web" of the test network."""
WEB_PORT = 8014


@dataclass(frozen=True)
class Package:
    kind: str  # debian or npm
    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Site:
    name: str
    package: str
    page: str
    """Path of the page, from the root of its kind (Debian) or of its package (npm)."""
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}:{WEB_PORT}{self.page}"


def packages() -> list[Package]:
    return [Package(**row) for row in _table("packages.tsv")]


def sites() -> list[Site]:
    """All sites, each at its address, in the order of the table."""
    return [
        Site(**row, address=f"{WEB_NET}.{number}")
        for number, row in enumerate(_table("sites.tsv"), start=1)
    ]


def _table(name: str) -> list[dict[str, str]]:
    text = (resources.files(__package__) / name).read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "bento-experiments" / "sites"


class Corpus:
    """The unpacked sites in `folder`; `make` fetches what is not there yet."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self.drifted: list[str] = []

    def root(self, site: Site) -> Path:
        """What the site's server has as its root."""
        kinds = {package.name: package.kind for package in packages()}
        if kinds[site.package] == "debian":
            return self.folder / "debian"
        return self.folder / "npm" / site.package.replace("/", "-")

    def make(self) -> None:
        """Fetch and unpack everything. Raises HostError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        archives = self.folder / "archives"
        archives.mkdir(exist_ok=True)
        for package in packages():
            self._check(package, _fetched(archives, package) or self._fetch(archives, package))
        marker = self.folder / "unpacked"
        wanted = "".join(sorted(package.sha256 + "\n" for package in packages()))
        if marker.exists() and marker.read_text() == wanted:
            return
        for package in packages():
            archive = _fetched(archives, package)
            assert archive is not None
            self._unpack(package, archive)
        _make_links_relative(self.folder / "debian")
        marker.write_text(wanted)

    def _fetch(self, archives: Path, package: Package) -> Path:
        for wanted in (package.version, ""):
            _ = subprocess.run(
                _command(package, wanted), cwd=archives, capture_output=True, check=False
            )
            if archive := _fetched(archives, package):
                return archive
        raise HostError(
            f"the {package.kind} package {package.name} cannot be fetched",
            "apt-get update; and check that the package archives can be reached",
        )

    def _check(self, package: Package, archive: Path) -> None:
        if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
            self.drifted.append(package.name)

    def _unpack(self, package: Package, archive: Path) -> None:
        if package.kind == "debian":
            target = self.folder / "debian"
            target.mkdir(exist_ok=True)
            _run(["dpkg-deb", "-x", str(archive), str(target)])
            return
        target = self.folder / "npm" / package.name.replace("/", "-")
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as content:
            for member in filter(tarfile.TarInfo.isfile, content):
                _write(target, member.name, content.extractfile(member))


def _command(package: Package, version: str) -> list[str]:
    if package.kind == "debian":
        return ["apt-get", "download", package.name + (f"={version}" if version else "")]
    return ["npm", "pack", "--silent", package.name + (f"@{version}" if version else "")]


def _fetched(archives: Path, package: Package) -> Path | None:
    """The newest archive of that package there."""
    if package.kind == "debian":
        pattern = f"{package.name}_*.deb"
    else:
        pattern = f"{package.name.lstrip('@').replace('/', '-')}-[0-9]*.tgz"
    found = sorted(archives.glob(pattern), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def _write(target: Path, name: str, content: IO[bytes] | None) -> None:
    """One file, without the first folder of its name (npm calls it `package`), and never outside `target`."""
    parts = Path(name).parts[1:]
    if content is None or not parts or ".." in parts:
        return
    path = target.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.read())


def _make_links_relative(root: Path) -> None:
    """A link to /usr/share/javascript means the one below `root`, never this machine's."""
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder, name)
            if path.is_symlink() and (target := os.readlink(path)).startswith("/"):
                path.unlink()
                path.symlink_to(os.path.relpath(root / target[1:], folder))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{command[0]} failed: {done.stderr.strip()[-200:]}")
