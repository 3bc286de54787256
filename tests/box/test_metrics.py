"""The operator's numbers: the format, how coarse they are, and that nothing of anybody is in them."""

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local_box import local_box

from bento.box.config import load
from bento.box.metrics import BYTE_STEP, COUNT_STEP, Board, Metric, MetricsServer, bucket, measure
from bento.errors import BentoError, UsageError

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[a-z-]+"\})? [0-9]+')
CONFIG = """
name = "b"
state = "/s"
run = "/r"
[tor]
relay_control = "unix:/c"
[entrance.circuit]
"""


def numbers(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


async def ask(place, request=b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"):
    if isinstance(place, Path):
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection(*place)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().split("\r\n")[0], body.decode()


@given(st.integers(0, 1 << 50), st.sampled_from([COUNT_STEP, BYTE_STEP]))
def test_a_bucket_is_the_next_multiple_and_zero_stays_zero(value, step):
    assert value <= bucket(value, step) < value + step
    assert bucket(value, step) % step == 0
    assert bucket(0, step) == 0


def test_numbers_stand_still_for_a_minute():
    now, count = 0.0, 0

    def take():
        nonlocal count
        count += 1
        return [Metric("m", "gauge", "h", (("", count),))]

    board = Board(take, lambda: now)
    first = board.text
    now = 59.9
    assert board.text == first
    now = 60.0
    assert board.text != first
    assert count == 2


async def test_a_visit_moves_counts_by_whole_steps_only_and_leaves_no_name(canaries):
    async with local_box() as local:
        word = canaries.plant("argument")
        source = f"def main(api, word): api.send(word * 10)  # {canaries.plant('source')}"
        instance, session = await local.box.run(source.encode(), word)
        await session.read()
        stale = await local.box.install(b"def main(api): pass")
        await stale.shutdown()
        with pytest.raises(BentoError):
            await stale.invoke()
        text = "".join(m.text() for m in measure(local.instances, local.sandboxes, local.door))
        await instance.shutdown()
        later = "".join(m.text() for m in measure(local.instances, local.sandboxes, local.door))
    seen = numbers(text)
    assert seen["bento_instances"] == "8"
    assert seen['bento_refusals_total{kind="box"}'] == "8"
    assert seen['bento_bytes_total{direction="in"}'] == str(BYTE_STEP)
    changing = {"bento_instances", 'bento_sandboxes_ready{image="python"}'}
    assert {name for name, value in numbers(later).items() if value != seen[name]} <= changing
    for line in text.splitlines():
        assert line.startswith("# ") or SAMPLE.fullmatch(line), line
    assert word not in text
    assert instance.ticket.token.seal.hex() not in text


@pytest.mark.parametrize("kind", ["unix", "loopback"])
async def test_it_is_served_on_a_unix_socket_or_a_loopback_port(tmp_path, kind):
    server = MetricsServer(Board(lambda: [Metric("m", "gauge", "h", (("", 1),))]))
    place = tmp_path / "m.sock" if kind == "unix" else ("127.0.0.1", 0)
    await server.open(f"unix:{place}" if kind == "unix" else "127.0.0.1:0")
    if kind == "loopback":
        place = server._server.sockets[0].getsockname()
    try:
        status, body = await ask(place)
        assert (status, numbers(body)) == ("HTTP/1.1 200 OK", {"m": "1"})
        for request, expected in (
            (b"GET / HTTP/1.1\r\n\r\n", "404"),
            (b"GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", "404"),
            (b"GET /metrics HTTP/1.1\r\nHost: fade.cab:9000\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"nonsense\r\n\r\n", "405"),
        ):
            assert (await ask(place, request))[0].split()[1] == expected
        assert await ask(place, b"x" * 100_000) == ("", "")
        assert (await ask(place))[0] == "HTTP/1.1 200 OK"
    finally:
        await server.close()


def test_it_is_off_by_default_and_never_reachable_from_elsewhere(tmp_path):
    path = tmp_path / "box.toml"
    path.write_text(CONFIG)
    assert load(path).metrics is None
    for listen in ("unix:/run/m.sock", "127.0.0.1:9035", "[::1]:9035"):
        path.write_text(f'{CONFIG}[metrics]\nlisten = "{listen}"\n')
        assert load(path).metrics.listen == listen
    for listen in (
        "0.0.0.0:9035",
        "192.0.2.1:1",
        "box.example:1",
        "unix:relative",
        ":9035",
        "127.0.0.1",
    ):
        path.write_text(f'{CONFIG}[metrics]\nlisten = "{listen}"\n')
        with pytest.raises(UsageError):
            load(path)
