"""What a manifest may ask of tor: the permission names, their numbers, and their comparison.

The manifest line is `tor = ["circuits=8", "streams", "events"]`: a permission, and for those
that count something, how many. The one table of names is `PERMISSIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bento.errors import PolicyError


@dataclass(frozen=True, slots=True)
class Permission:
    """One name of the manifest's `tor` line.

    `counts` says what the number limits (empty: the permission takes none), `usual` is the
    number of a bare name, `most` the largest any manifest may ask for.
    """

    name: str
    grants: str
    counts: str = ""
    usual: int = 0
    most: int = 0


RECORD = "record"

PERMISSIONS: Mapping[str, Permission] = {
    permission.name: permission
    for permission in (
        Permission("circuits", "build, extend and close circuits", "circuits open at once", 8, 64),
        Permission(
            "streams",
            "see, hold, attach and close the function's own streams",
            "streams open at once",
            32,
            256,
        ),
        Permission(
            "onion-services",
            "run onion services that end in the sandbox",
            "onion services at once",
            1,
            8,
        ),
        Permission("onion-keys", "bring keys for onion services and be given the keys of new ones"),
        Permission(
            "onion-fetch",
            "fetch onion-service descriptors",
            "descriptor fetches a minute",
            6,
            60,
        ),
        Permission(
            "onion-publish",
            "publish descriptors for addresses whose key the function proved",
            "descriptors published a minute",
            6,
            60,
        ),
        Permission("events", "hear events about the function's own objects"),
        Permission(
            "directory",
            "read the public directory: consensus, relays, descriptors",
            "directory look-ups a minute",
            600,
            6000,
        ),
        Permission("guards", "learn which guards the functions' tor uses"),
        Permission(RECORD, "do all of the above at their most, and be told the line that would do"),
    )
}


@dataclass(frozen=True, slots=True)
class Grants:
    """A parsed `tor` line: permission name -> number (0 where a permission counts nothing)."""

    numbers: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, items: Iterable[str]) -> Grants:
        """Read the strings of a `tor` line; PolicyError names the bad one."""
        numbers: dict[str, int] = {}
        for item in items:
            name, number = _item(item)
            if name in numbers:
                raise PolicyError(f"the tor permission {name} is asked for twice")
            numbers[name] = number
        return cls(numbers)

    @classmethod
    def everything(cls) -> Grants:
        """All permissions at their most: what a function runs with while it is recorded."""
        return cls({permission.name: permission.most for permission in PERMISSIONS.values()})

    @property
    def in_force(self) -> Grants:
        """What the function may really do: everything, while it is recorded."""
        return Grants.everything() if RECORD in self else self

    def __contains__(self, name: str) -> bool:
        return name in self.numbers

    def number(self, name: str) -> int:
        """The number granted; 0 if the permission is absent."""
        return self.numbers.get(name, 0)

    def beyond(self, policy: Grants) -> tuple[str, ...]:
        """The items of this line that `policy` does not offer, as the manifest writes them."""
        return tuple(
            _written(name, number)
            for name, number in self.numbers.items()
            if name not in policy or number > policy.number(name)
        )

    @property
    def items(self) -> tuple[str, ...]:
        """As `parse` reads them."""
        return tuple(_written(name, number) for name, number in self.numbers.items())

    def line(self) -> str:
        """The manifest line that asks for exactly this."""
        items = ", ".join(f'"{item}"' for item in self.items)
        return f"tor = [{items}]"


def _item(item: str) -> tuple[str, int]:
    name, equals, digits = item.partition("=")
    permission = PERMISSIONS.get(name)
    if permission is None:
        raise PolicyError(
            f"there is no tor permission {name[:40]!r}", "choose from " + ", ".join(PERMISSIONS)
        )
    if not equals:
        return name, permission.usual
    if not permission.counts:
        raise PolicyError(f"the tor permission {name} takes no number", f'write "{name}"')
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 8 else 0
    if not 1 <= number <= permission.most:
        raise PolicyError(
            f"the number of the tor permission {name} must be 1 to {permission.most}",
            f'write "{name}={permission.usual}"',
        )
    return name, number


def _written(name: str, number: int) -> str:
    return f"{name}={number}" if PERMISSIONS[name].counts else name
