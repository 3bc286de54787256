import pytest
from tests.local_box import local_box


@pytest.fixture
async def local():
    async with local_box() as box:
        yield box
