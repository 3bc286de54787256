"""What client, box and guest must agree on about a conclave, beyond the channel itself.

The box admits a conclave by its manifest, which it reads, and knows its function by a commitment only:
the upload is 32 random bytes and then the function, and `Create.function` is the SHA-256 of both. So
the box can neither recognise a known function nor put another one in its place.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from bento.errors import UsageError
from bento.protocol.manifest import Manifest, amended

IMAGES = {"python": "python-conclave", "browser": "browser-conclave"}
"""The image that does in a conclave what another one does in the open."""

_TERMS = b"bento conclave terms v1\0"


def is_conclave(image: str) -> bool:
    """Whether instances of this image are attested."""
    return image in IMAGES.values()


def terms_hash(manifest: str, function: bytes) -> bytes:
    """What evidence binds a conclave to: its manifest and the commitment to its function."""
    return sha256(_TERMS + sha256(manifest.encode()).digest() + function).digest()


def enclosed(manifest: str) -> str:
    """The same manifest, with the conclave form of its image.

    Raises UsageError if there is none, or if the manifest is written too oddly to be changed."""
    asked = Manifest.parse(manifest)
    if is_conclave(asked.image):
        return manifest
    image = IMAGES.get(asked.image)
    if image is None:
        raise UsageError(
            f"the image {asked.image!r} has no conclave form",
            f"conclaves run {', '.join(IMAGES)} functions",
        )
    changed = amended(manifest, image=image)
    if Manifest.parse(changed) != replace(asked, image=image):
        raise UsageError(f'the manifest cannot be changed to image = "{image}"', "write it there")
    return changed
