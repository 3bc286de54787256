"""Rates, ends and costs of a Cover, as people write and read them."""

import pytest

from bento.errors import UsageError
from bento.functions.cover.client import build_upload
from bento.functions.cover.terms import FUNCTIONS, Terms, manifest_for, public_end, read_slot
from bento.protocol.manifest import Manifest, manifest_text


def test_a_rate_is_bytes_or_cells_a_second():
    assert Terms(read_slot("50 cells/s")).cells_per_second == 50
    assert Terms(read_slot("24.4KB/s")).cells_per_second == 50
    assert Terms(read_slot("25KB/s")).cells_per_second == pytest.approx(51.23, abs=0.01)


@pytest.mark.parametrize("rate", ["", "25", "fast/s", "0/s", "1MB/s", "1 B/s", "-5KB/s", "1e3/s"])
def test_what_is_no_rate_is_told(rate):
    with pytest.raises(UsageError, match="rate"):
        read_slot(rate)


def test_the_cost_is_told_before():
    hour = Terms(read_slot("50 cells/s")).bytes_per_hour
    assert hour == 2 * 50 * 3600 * 536


def test_ends_double_from_a_minute():
    ends = [public_end(seconds) for seconds in (0, 59, 60, 61, 200, 3000)]
    assert ends == [60, 60, 60, 120, 240, 3840]


def test_the_manifest_names_the_end_and_asks_for_streams_only_if_there_are_some():
    text = manifest_text(build_upload())
    idle = Manifest.parse(manifest_for(text, Terms(10**7, seconds=600), streams=False))
    assert (idle.tor, idle.egress, idle.boxes) == ((), (), 0)
    assert idle.lifetime == 660
    busy = Manifest.parse(manifest_for(text, Terms(10**7), streams=True))
    assert (busy.tor, busy.egress, busy.boxes) == ((), (), FUNCTIONS)
