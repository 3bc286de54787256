"""The small web of these tests, and pages of it that are fetched once for several tests."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from tests.functions.browser.box import call
from tests.functions.browser.site import Site, web

from bento.functions.browser.pack import Pack
from bento.functions.browser.packing import decode

# A property is about values, not about time: the machine may be busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def small_web() -> Iterator[Site]:
    with web(44) as site:
        yield site


@pytest.fixture
def site(small_web: Site) -> Site:
    small_web.hits.clear()
    return small_web


@pytest.fixture(scope="session")
def fetched(small_web: Site) -> Callable[[str], Pack]:
    """A page of the small web as the function brings it, fetched once a test run."""
    kept: dict[str, Pack] = {}

    def fetch(path: str) -> Pack:
        if path not in kept:
            kept[path] = decode(call(small_web.url(path), timing="none").answer, "x2")
        return kept[path]

    return fetch
