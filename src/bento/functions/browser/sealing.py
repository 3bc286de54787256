"""How a page that waits for its reader is sealed: as every file in a dropbox is.

In the upload the dropbox's own module stands in this place (see client.SHARED).
"""

from bento.functions.dropbox.sealing import Content, seal

__all__ = ["Content", "seal"]
