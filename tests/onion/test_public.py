"""What the room offers is what its `__init__` says, and secrets stay out of sight."""

import bento.onion


def test_the_public_names_are_these() -> None:
    assert set(bento.onion.__all__) == {
        name
        for name, value in vars(bento.onion).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("bento.onion.")
    }
