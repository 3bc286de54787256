"""Bento: small Python functions on Tor relays, with an unmodified tor."""
