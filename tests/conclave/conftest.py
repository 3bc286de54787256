"""Correctness has no deadline: hypothesis reports none on a busy machine."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
