"""What an operator can do to a running box: look, end one instance, block a function, drain."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest
from tests.e2e.command import bento
from tests.local_box import local_box

from bento.box.orders import Orders
from bento.errors import BoxError, HostError, PolicyError

BUSY = b"def main(api):\n    api.send(b'x' * 5000)\n    api.recv()"


@pytest.fixture
async def box(tmp_path):
    async with local_box() as local:
        config = tmp_path / "bentod.toml"
        config.write_text(
            f'name = "local"\nstate = "{local.config.state}"\nrun = "{local.config.run}"\n'
            '[tor]\nrelay_control = "unix:/nowhere"\n[entrance.circuit]\n'
        )
        local.config_file = config
        yield local


async def bentod(box, *words):
    words = (words[0], "--config", box.config_file, *words[1:])
    return await asyncio.to_thread(bento, *words, program="bento.cli.bentod")


async def test_top_shows_what_runs_and_what_it_uses(box):
    instance, session = await box.box.run(BUSY)
    await session.started()
    with pytest.raises(PolicyError):
        await box.box.install(b"# /// bento\n# memory = '100 GiB'\n# ///\n")
    done = await bentod(box, "top", "--json")
    top = done.json
    assert (top["name"], top["capacity"], top["draining"], top["refused"]) == (
        ("local", 20, False, 1)
    )
    [row] = top["instances"]
    assert len(row["function"]) == 64
    assert row["image"] == "python" and row["sessions"] == 1
    assert row["bytes_out"] >= 5000 and row["memory"] > 1 << 20 and row["cpu_seconds"] > 0
    assert row["id"][:8].encode() in (await bentod(box, "top")).out
    await session.detach()
    await instance.shutdown()
    assert (await bentod(box, "top", "--json")).json["instances"] == []


async def test_kill_ends_one_instance_and_no_other(box):
    one, first = await box.box.run(BUSY)
    two, second = await box.box.run(BUSY)
    await first.started()
    await second.started()
    names = {instance.name for instance in box.instances}
    killed = next(iter(names))
    done = await bentod(box, "kill", "--json", killed[:12])
    assert (done.json["ended"], done.json["running"]) == (1, 1)
    assert {instance.name for instance in box.instances} == names - {killed}
    for unclear in ("", "nobody"):
        assert (await bentod(box, "kill", unclear)).status == BoxError.exit_status
    await first.detach()
    await second.detach()


async def test_a_blocked_function_ends_and_never_starts_again_also_after_a_restart(box):
    instance, session = await box.box.run(BUSY)
    await session.started()
    [row] = (await bentod(box, "top", "--json")).json["instances"]
    done = await bentod(box, "block", "--json", row["function"])
    assert (done.json["ended"], done.json["running"]) == (1, 0)
    await session.detach()
    function = bytes.fromhex(row["function"])
    for orders in (box.orders, Orders(box.config.state)):
        with pytest.raises(PolicyError, match="does not let this function"):
            orders.admit(function)
    with pytest.raises(PolicyError, match="does not let this function"):
        await box.box.install(BUSY)
    assert (await bentod(box, "unblock", row["function"])).status == 0
    await (await box.box.install(BUSY)).shutdown()
    assert (await bentod(box, "unblock", row["function"])).status == 2


@pytest.mark.parametrize("text", ["", "ab", "zz" * 32, "ab" * 33, "a b" * 22])
async def test_what_is_no_hash_blocks_nothing(box, text):
    done = await bentod(box, "block", text)
    assert done.status == 2 and "64 hex digits" in done.err
    assert box.orders.blocked == ()


async def test_a_drained_box_takes_nothing_new_and_keeps_what_runs(box):
    instance = await box.box.install(BUSY)
    assert (await bentod(box, "drain", "--json")).json == {"ended": 0, "running": 1}
    with pytest.raises(BoxError, match="no new functions"):
        await box.box.install(BUSY)
    session = await instance.invoke()
    await session.started()
    await session.detach()
    waiting = asyncio.create_task(bentod(box, "drain", "--wait", "--json"))
    await instance.shutdown()
    assert (await waiting).json["running"] == 0
    await bentod(box, "drain", "--off")
    await (await box.box.install(BUSY)).shutdown()


async def test_only_bentods_own_user_may_open_the_operators_socket(box):
    path = box.config.run / "operator.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b'{"do":"rm"}\n', b'{"do":"top","x":1}\n', b"\xff\n"]
)
async def test_what_is_no_order_is_answered_and_does_nothing(box, line):
    reader, writer = await asyncio.open_unix_connection(box.config.run / "operator.sock")
    writer.write(line)
    assert json.loads(await reader.read())["failure"]["kind"] == "usage"
    writer.close()


async def test_without_a_running_bentod_the_command_says_so(tmp_path):
    config = tmp_path / "bentod.toml"
    config.write_text(
        f'name = "x"\nstate = "{tmp_path}"\nrun = "{tmp_path}"\n[tor]\nrelay_control = "unix:/x"\n'
        "[entrance.circuit]\n"
    )
    done = await asyncio.to_thread(bento, "top", "--config", config, program="bento.cli.bentod")
    assert done.status == HostError.exit_status and "no bentod answers" in done.err


def test_a_damaged_list_of_blocked_functions_keeps_the_box_shut(tmp_path):
    (tmp_path / "blocked").write_text("ab" * 32 + "\nnonsense\n")
    with pytest.raises(HostError, match="blocked functions"):
        Orders(tmp_path)


def test_blocking_on_a_full_disk_fails_and_changes_nothing(tmp_path):
    orders = Orders(tmp_path)
    orders.block(b"a" * 32)
    (tmp_path / "blocked.new").mkdir()  # the next write cannot begin
    with pytest.raises(HostError):
        orders.block(b"b" * 32)
    assert orders.blocked == (b"a" * 32,) == Orders(tmp_path).blocked
