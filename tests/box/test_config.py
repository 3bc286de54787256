"""bentod's file: strict, with the bad entry named."""

import pytest

from bento.box.config import load
from bento.errors import UsageError

GOOD = """
name = "box"
state = "/var/lib/bento"
run = "/run/bento"
[entrance.circuit]
address = "192.0.2.77"
[tor]
relay_control = "unix:/run/tor/control"
"""


def read(tmp_path, text):
    path = tmp_path / "bentod.toml"
    path.write_text(text)
    return load(path)


def test_the_smallest_file_is_enough_and_gives_functions_no_network(tmp_path):
    config = read(tmp_path, GOOD)
    assert (config.name, config.egress.via, config.entrance.circuit.port) == ("box", "none", 5000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name"),
        (GOOD + "[nothing]\n", "nothing"),
        (GOOD + "[capacity]\nmemory = 'lots'\n", "size"),
        (GOOD + "[capacity]\ninstances = 'five'\n", "instances"),
        (GOOD + "[capacity]\nboxes = 65\n", "boxes"),
        (
            GOOD + "[capacity]\nboxes = 1\nimages = ['python']\n[sandbox]\nruntime = 'runsc'\n",
            "no way to",
        ),
        (GOOD + "[egress]\nvia = 'carrier pigeon'\n", "via"),
        (GOOD + "[sandbox]\nruntime = 'podman'\n", "podman"),
        (GOOD + "[sandbox]\nruntime = 'crun'\n", "no image browser"),
        (GOOD + "functions_control = 'unix:/run/f'\n", "functions_socks"),
        (GOOD + "functions_socks = 'unix:/run/f'\nallow = ['events']\n", "functions_control"),
        (GOOD + "allow = ['everything']\n", "everything"),
        (GOOD + "[egress]\nrules = ['nowhere']\n", "nowhere"),
        (GOOD + "[egress]\ntest_web = '10.0.0.0/8'\n", "loopback"),
        (GOOD.replace("192.0.2.77", "here"), "here"),
        (GOOD.replace('[entrance.circuit]\naddress = "192.0.2.77"', "[entrance]"), "entrance"),
        ("= 5", "line 1"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_file_and_entry(tmp_path, text, said):
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, text)
    assert "bentod.toml" in caught.value.detail


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path / "none.toml")
