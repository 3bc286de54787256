"""Which relays run a box: read from the descriptors that a tor of our own has fetched."""

from __future__ import annotations

from bento.tor.announcement import Announcement

__all__ = ["Announcement"]
