"""Onion keys, addresses, and services of a running tor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import HostError, TorError, UsageError
from bento.tor.controller import CommandRefused
from bento.tor.onion_service import OnionKey, add_onion, decode_address, encode_address

SEED = bytes(range(32))


@given(st.binary(min_size=32, max_size=32))
def test_an_address_holds_its_key(public_key):
    address = encode_address(public_key)
    assert len(address) == 56
    assert decode_address(address) == public_key


@given(st.integers(0, 55), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_mistyped_address_is_noticed(position, letter):
    address = OnionKey(SEED).address
    mistyped = address[:position] + letter + address[position + 1 :]
    if mistyped != address:
        with pytest.raises(TorError) as refused:
            decode_address(mistyped)
        assert mistyped not in str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text):
    with pytest.raises(TorError):
        decode_address(text)


@pytest.mark.parametrize("change", [str.upper, lambda a: a + ".onion", lambda a: a[:-1], str.title])
def test_an_address_has_one_spelling(change):
    with pytest.raises(TorError):
        decode_address(change(OnionKey(SEED).address))


def test_a_known_onion_service_has_the_address_that_the_world_knows():
    # The Tor Project's own, as published.
    address = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid"
    assert encode_address(decode_address(address)) == address


def test_a_key_does_not_show_its_secret():
    key = OnionKey(SEED)
    assert SEED.hex() not in repr(key) + str(key)
    assert repr(SEED) not in repr(key)


def test_a_saved_key_is_for_its_owner_and_comes_back(tmp_path):
    path = tmp_path / "key"
    key = OnionKey.load_or_generate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert OnionKey.load(path).address == key.address
    assert OnionKey.load_or_generate(path).address == key.address


def test_a_key_is_never_written_over_another(tmp_path):
    path = tmp_path / "key"
    OnionKey(SEED).save(path)
    with pytest.raises(HostError):
        OnionKey.generate().save(path)
    assert OnionKey.load(path).address == OnionKey(SEED).address


@pytest.mark.parametrize("content", [None, b"", SEED[:31], SEED + b"\n"])
def test_what_is_no_key_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(HostError):
        OnionKey.load(tmp_path / "key")


@pytest.mark.parametrize("seed", [b"", SEED[:31], SEED + b"x"])
def test_a_seed_has_32_bytes(seed):
    with pytest.raises(UsageError):
        OnionKey(seed)


async def test_tor_makes_the_address_that_we_computed(offline_tor):
    async with await offline_tor.controller() as controller:
        for _ in range(5):
            key = OnionKey.generate()
            service = await add_onion(controller, key, 80, "127.0.0.1:9", non_anonymous=False)
            assert service.address == key.address
            current = await controller.get_info("onions/current")
            assert current["onions/current"] == key.address
            await service.remove()
            assert (await controller.get_info("onions/current"))["onions/current"] == ""


async def test_a_service_ends_with_its_control_connection(offline_tor):
    key = OnionKey.generate()
    for _ in range(2):  # the second time would be refused, were the first still there
        async with await offline_tor.controller() as controller:
            await add_onion(controller, key, 80, "unix:/run/some.sock", non_anonymous=False)


async def test_the_same_service_twice_is_an_error_without_the_key_in_it(offline_tor):
    key = OnionKey.generate()
    async with await offline_tor.controller() as controller:
        await add_onion(controller, key, 80, "127.0.0.1:9", non_anonymous=False)
        with pytest.raises(CommandRefused) as refused:
            await add_onion(controller, key, 80, "127.0.0.1:9", non_anonymous=False)
        assert key.control_key not in str(refused.value)


async def test_a_single_hop_service_needs_a_tor_in_that_mode(offline_tor):
    async with await offline_tor.controller() as controller:
        with pytest.raises(CommandRefused):
            await add_onion(controller, OnionKey(SEED), 80, "127.0.0.1:9", non_anonymous=True)


@pytest.mark.parametrize(
    ("port", "target"),
    [(0, "127.0.0.1:9"), (65536, "127.0.0.1:9"), (80, ""), (80, "a b"), (80, "a,b"), (80, 'a"')],
)
async def test_port_and_target_cannot_become_other_arguments(offline_tor, port, target):
    async with await offline_tor.controller() as controller:
        with pytest.raises(UsageError):
            await add_onion(controller, OnionKey(SEED), port, target, non_anonymous=False)


async def test_waiting_for_a_service_ends_when_tor_goes_away(offline_tor):
    controller = await offline_tor.controller()
    service = await add_onion(controller, OnionKey(SEED), 80, "127.0.0.1:9", non_anonymous=False)
    await offline_tor.stop()
    with pytest.raises(TorError, match="went away"):
        await service.published()


async def test_a_service_may_have_tor_ask_for_work(offline_tor):
    key = OnionKey.generate()
    async with await offline_tor.controller() as controller:
        await add_onion(controller, key, 80, "127.0.0.1:9", False, proof_of_work=True)
        assert (await controller.get_info("onions/current"))["onions/current"] == key.address
