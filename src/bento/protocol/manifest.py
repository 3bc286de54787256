"""What a function asks for: the manifest, an inline block of comments in its own source.

    # /// bento
    # image = "python"
    # memory = "64 MiB"
    # egress = ["*:80", "*:443"]
    # ///

The block's form is that of PEP 723; its body is TOML. Unknown keys are errors, everything has a
default, and the default asks for little.
"""

from __future__ import annotations

import io
import json
import re
import tomllib
import zipfile
from dataclasses import dataclass, field
from typing import Any

from bento.errors import UsageError
from bento.protocol import limits

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_SIZE = re.compile(r"([0-9]{1,12})\s*(B|KiB|MiB|GiB)?", re.ASCII)
_SIZES = {None: 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_TIME = re.compile(r"([0-9]{1,9})\s*(s|m|h|d)?", re.ASCII)
_TIMES = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
CONCLAVE_FORM = "-conclave"
"""How the name of an image ends whose instances are conclaves: `conclave = true` adds it."""
_BROWSER = "browser"  # the image that has a Chromium
_EGRESS_RULES = 64
_TOR_ITEMS = 16
_TOR_ITEM = r"[a-z-]{1,32}(=[0-9]{1,7})?"


@dataclass(frozen=True)
class Manifest:
    """The terms an instance runs under. Sizes are bytes, times seconds, cpu is in cores."""

    image: str = "python"
    memory: int = 64 * MIB
    cpu: float = 0.5
    disk: int = 16 * MIB
    pids: int = 64
    lifetime: int = 3600
    egress: tuple[str, ...] = field(default=())
    spool: int = limits.WINDOW
    tor: tuple[str, ...] = field(default=())
    syscalls: str = ""  # the class of system calls it needs; "" is that of its image
    relays: bool = False  # whether it connects to relays' ORPorts
    chromium: bool = False  # whether one starts with the instance
    boxes: int = 0  # instances on other boxes it may have at once, theirs included
    lease: int = 0  # it ends when nobody who may end it asked for so long that it go on; 0: never

    @property
    def network(self) -> bool:
        """Whether it asks for any way out of its sandbox but tor's own."""
        return bool(self.egress) or self.relays

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """The manifest in TOML `text`. Raises UsageError naming every bad line at once."""
        if len(text.encode()) > limits.MANIFEST:
            raise UsageError(f"the manifest is larger than {limits.MANIFEST} bytes")
        try:
            table = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"the manifest is not TOML: {error}") from None
        values: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in table.items():
            reader = _READERS.get(key)
            if reader is None:
                problems.append(f"there is no {key!r} in a manifest")
                continue
            try:
                values[key] = reader(value)
            except ValueError as error:
                problems.append(f"{key} = {value!r}: {error}")
        image = values.get("image", cls.image)
        if values.get("chromium") and image.removesuffix(CONCLAVE_FORM) != _BROWSER:
            problems.append(f"chromium = true: the image {image!r} has none, {_BROWSER!r} has")
        if problems:
            raise UsageError(
                "the manifest is wrong: " + "; ".join(problems),
                f"it may have {', '.join(_READERS)}",
            )
        if values.pop("conclave", False) and not image.endswith(CONCLAVE_FORM):
            values["image"] = image + CONCLAVE_FORM
        return cls(**values)


def amended(text: str, **terms: str | int | float) -> str:
    """The manifest `text` with other values for some of its one-line entries."""
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in terms]
    return "\n".join([*kept, *(f"{key} = {json.dumps(value)}" for key, value in terms.items())])


def states(text: str, key: str) -> bool:
    """Whether the manifest `text`, which is a right one, has an entry of its own for `key`."""
    return key in tomllib.loads(text)


def manifest_text(upload: bytes) -> str:
    """The manifest block inside an upload (source text, or a zip with a __main__.py) as TOML.

    A function without a block gets the defaults: the empty text. Raises UsageError on a bad upload."""
    source = _source(upload)
    lines: list[str] | None = None
    for line in source.splitlines():
        if lines is None:
            if line.rstrip() == "# /// bento":
                lines = []
        elif line.rstrip() == "# ///":
            return "\n".join(lines)
        elif line.startswith("# ") or line.rstrip() == "#":
            lines.append(line[2:])
        else:
            raise UsageError("the manifest block is not closed", "end it with a line: # ///")
    if lines is not None:
        raise UsageError("the manifest block is not closed", "end it with a line: # ///")
    return ""


def _source(upload: bytes) -> str:
    if upload.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(io.BytesIO(upload)) as archive:
                upload = archive.read("__main__.py")
        except KeyError:
            raise UsageError("the zip has no __main__.py", "put main(api, …) there") from None
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UsageError(f"the zip cannot be read: {error}") from None
    try:
        return upload.decode()
    except UnicodeDecodeError:
        raise UsageError("the function is neither UTF-8 source nor a zip") from None


def read_size(value: object) -> int:
    """Bytes from `"64 MiB"` or a whole number. Raises ValueError."""
    return _read(value, _SIZE, _SIZES, 'write a size as "64 MiB"')


def read_time(value: object) -> int:
    """Seconds from `"10m"` or a whole number. Raises ValueError."""
    return _read(value, _TIME, _TIMES, 'write a time as "90s", "10m", "2h" or "1d"')


def _read(value: object, form: re.Pattern[str], units: dict[str | None, int], say: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = form.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(say)
    return int(match[1]) * units[match[2]]


def show_size(size: int) -> str:
    """`64 MiB` for 67108864: the largest unit that leaves a whole number."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def _name(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,31}", value):
        return value
    raise ValueError("it is named by lower-case letters, digits and dashes")


def _cpu(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.01 <= value <= 64:
        return float(value)
    raise ValueError("cpu is a number of cores from 0.01 to 64")


def _pids(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096:
        return value
    raise ValueError("pids is a whole number from 1 to 4096")


def _boxes(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limits.TREE:
        return value
    raise ValueError(f"boxes is a whole number up to {limits.TREE}")


def _lease(value: object) -> int:
    seconds = read_time(value)
    if seconds > limits.LEASE_MOST:
        raise ValueError(f"a lease has at most {limits.LEASE_MOST} seconds")
    return seconds


def _egress(value: object) -> tuple[str, ...]:
    if (
        isinstance(value, list)
        and len(value) <= _EGRESS_RULES
        and all(isinstance(item, str) and 3 <= len(item) <= 300 for item in value)
    ):
        return tuple(value)
    raise ValueError(f'egress is a list of at most {_EGRESS_RULES} rules such as "*:443"')


def _tor(value: object) -> tuple[str, ...]:
    if (
        isinstance(value, list)
        and len(value) <= _TOR_ITEMS
        and all(isinstance(item, str) and re.fullmatch(_TOR_ITEM, item) for item in value)
    ):
        return tuple(value)
    raise ValueError('tor is a list of permissions such as "circuits=2" or "events"')


def _conclave(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("write true for a conclave, which is to run where its operator cannot look")


def _relays(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("write true for a function that connects to the ORPorts of Tor's relays")


def _chromium(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("write true for a function that drives a Chromium")


def _spool(value: object) -> int:
    size = read_size(value)
    if size < limits.SPOOL_MIN:
        # Below it a sender could wait for an acknowledgement that its receiver does not owe yet.
        raise ValueError(f"a spool has at least {show_size(limits.SPOOL_MIN)}")
    return size


_READERS = {
    "image": _name,
    "conclave": _conclave,
    "syscalls": _name,
    "memory": read_size,
    "cpu": _cpu,
    "disk": read_size,
    "pids": _pids,
    "lifetime": read_time,
    "egress": _egress,
    "tor": _tor,
    "relays": _relays,
    "chromium": _chromium,
    "spool": _spool,
    "boxes": _boxes,
    "lease": _lease,
}
