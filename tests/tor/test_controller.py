"""One control connection: its order, its end, its log-in."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path

import pytest
from tests.tor.fake_tor import FakeTor

from bento.errors import HostError, TorError, UsageError
from bento.tor.controller import CommandRefused, Controller
from bento.tor.process import TorProcess

COOKIE = bytes(range(32))


async def connected(tor: FakeTor) -> Controller:
    return await Controller.connect(tor.address)


# -- commands and replies --------------------------------------------------------------------------


async def test_replies_go_to_commands_in_order(fake_tor):
    fake_tor.answers["GETINFO"] = lambda line: f"250-{line[8:]}=of {line[8:]}\r\n250 OK"
    async with await connected(fake_tor) as controller:
        keys = [f"key{k}" for k in range(50)]
        values = await asyncio.gather(*(controller.get_info(key) for key in keys))
    assert values == [{key: f"of {key}"} for key in keys]


async def test_a_command_that_nobody_waits_for_still_takes_its_own_reply(fake_tor):
    fake_tor.answers |= {"GETINFO": "", "GETCONF": "250 Nickname=me"}
    async with await connected(fake_tor) as controller:
        abandoned = asyncio.ensure_future(controller.get_info("slow"))
        await fake_tor.asked("GETINFO")
        abandoned.cancel()
        waiting = asyncio.ensure_future(controller.get_conf("Nickname"))
        await asyncio.sleep(0)
        fake_tor.say("250-slow=answer\r\n250 OK")
        assert await waiting == ["me"]


async def test_on_reply_is_called_before_anything_later_is_read(fake_tor):
    fake_tor.answers["EXTENDCIRCUIT"] = "250 EXTENDED 7\r\n650 CIRC 7 BUILT"
    heard = []
    async with await connected(fake_tor) as controller:
        await controller.subscribe({"CIRC"}, lambda event: heard.append(event.positional))
        await controller.send("EXTENDCIRCUIT 0", on_reply=lambda reply: heard.append(reply.text))
        assert heard == ["EXTENDED 7", ("7", "BUILT")]


async def test_a_refusal_names_the_command_and_not_its_arguments(fake_tor):
    fake_tor.answers["ADD_ONION"] = "512 Bad key"
    async with await connected(fake_tor) as controller:
        with pytest.raises(CommandRefused) as refused:
            await controller.command("ADD_ONION ED25519-V3:secret Port=80")
    assert refused.value.status == 512
    assert str(refused.value) == "tor refused ADD_ONION: 512 Bad key"


@pytest.mark.parametrize("answer", ["250 OK", "250-other=1\r\n250 OK", "250-version\r\n250 OK"])
async def test_an_answer_without_the_value_is_an_error(fake_tor, answer):
    fake_tor.answers["GETINFO"] = answer
    async with await connected(fake_tor) as controller:
        with pytest.raises(TorError):
            await controller.get_info("version")


@pytest.mark.parametrize("key", ["", "a b", "a\r\nQUIT", "a=b", 'a"b'])
async def test_a_key_cannot_become_another_command(fake_tor, key):
    async with await connected(fake_tor) as controller:
        for ask in (controller.get_info, controller.get_conf, controller.reset_conf):
            with pytest.raises(UsageError):
                await ask(key)
        with pytest.raises(UsageError):
            await controller.set_conf({key: "1"})


async def test_options_arrive_in_a_real_tor_as_they_were_sent(offline_tor):
    async with await offline_tor.controller() as controller:
        for value in ('a "b" \\ c', "é ü", "#no comment", "tab\there", " spaces ", "\x7f"):
            await controller.set_conf({"ContactInfo": value})
            assert await controller.get_conf("ContactInfo") == [value]
        await controller.set_conf({"ExitPolicy": ["accept *:80", "reject *:*"]})
        assert await controller.get_conf("ExitPolicy") == ["accept *:80", "reject *:*"]
        await controller.reset_conf("ContactInfo", "ExitPolicy")
        assert await controller.get_conf("ContactInfo") == []


# -- events ----------------------------------------------------------------------------------------


async def test_each_subscriber_hears_what_it_asked_for_until_it_cancels(fake_tor):
    heard: dict[str, list[str]] = {"a": [], "b": []}
    async with await connected(fake_tor) as controller:
        one = await controller.subscribe({"BW"}, lambda e: heard["a"].append(e.keyword))
        assert await fake_tor.asked("SETEVENTS") == "SETEVENTS BW"
        await controller.subscribe({"BW", "CIRC"}, lambda e: heard["b"].append(e.keyword))
        assert await fake_tor.asked("SETEVENTS") == "SETEVENTS BW CIRC"
        fake_tor.say("650 BW 1 2\r\n650 CIRC 1 BUILT\r\n650 STREAM 1 NEW 0 a:1")
        await controller.command("GETINFO x")
        await one.cancel()
        assert await fake_tor.asked("SETEVENTS") == "SETEVENTS BW CIRC"
        fake_tor.say("650 BW 1 2")
        await controller.command("GETINFO x")
    assert heard == {"a": ["BW"], "b": ["BW", "CIRC", "BW"]}


async def test_a_subscription_that_tor_refuses_is_forgotten(fake_tor):
    fake_tor.answers["SETEVENTS"] = lambda line: "552 Unrecognized" if "NO" in line else "250 OK"
    async with await connected(fake_tor) as controller:
        with pytest.raises(CommandRefused):
            await controller.subscribe({"NO"}, print)
        await controller.subscribe({"BW"}, print)


async def test_a_callback_that_fails_harms_nobody_else(fake_tor):
    heard, failures = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, info: failures.append(info))
    async with await connected(fake_tor) as controller:
        await controller.subscribe({"BW"}, lambda event: 1 / 0)
        await controller.subscribe({"BW"}, heard.append)
        fake_tor.say("650 BW 1 2")
        await controller.command("GETINFO x")
    assert len(heard) == len(failures) == 1


# -- the end ---------------------------------------------------------------------------------------


async def test_all_who_wait_learn_that_tor_has_gone(fake_tor):
    fake_tor.answers["GETINFO"] = ""
    controller = await connected(fake_tor)
    waiting = [asyncio.ensure_future(controller.get_info("a")) for _ in range(3)]
    await fake_tor.asked("GETINFO")
    fake_tor.hang_up()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, TorError) for result in results)
    assert isinstance(await controller.closed, TorError)
    with pytest.raises(TorError, match="closed"):
        await controller.command("GETINFO b")


@pytest.mark.parametrize("nonsense", ["HTTP/1.1 200 OK", "250 OK", "650 lower"])
async def test_what_is_not_a_control_port_ends_the_connection_with_the_reason(fake_tor, nonsense):
    controller = await connected(fake_tor)
    await controller.command("GETINFO x")
    fake_tor.say(nonsense)
    assert "control port" in str(await controller.closed)


async def test_closing_is_no_error(fake_tor):
    controller = await connected(fake_tor)
    await controller.close()
    await controller.close()
    assert await controller.closed is None


@pytest.mark.parametrize("address", ["unix:/nowhere/control", "127.0.0.1:1"])
async def test_nobody_at_the_address_is_an_error_that_names_it(address):
    with pytest.raises(TorError, match=address):
        await Controller.connect(address)


@pytest.mark.parametrize("address", ["", "localhost", ":1", "host:", "host:70000", "host:x"])
async def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError):
        await Controller.connect(address)


# -- logging in ------------------------------------------------------------------------------------


async def test_the_cookie_of_a_real_tor_is_enough(offline_tor):
    async with await Controller.connect(offline_tor.control_address) as controller:
        await controller.authenticate()
        assert "version" in await controller.get_info("version")


def offer(tor: FakeTor, folder: Path, methods: str, cookie: bytes = COOKIE) -> None:
    path = folder / "cookie"
    path.write_bytes(cookie)
    tor.answers["PROTOCOLINFO"] = (
        f'250-PROTOCOLINFO 1\r\n250-AUTH METHODS={methods} COOKIEFILE="{path}"\r\n250 OK'
    )


async def test_a_cookie_is_never_sent_where_it_can_be_proved(fake_tor, short_folder):
    offer(fake_tor, short_folder, "COOKIE,SAFECOOKIE")

    def challenge(line: str) -> str:
        message = COOKIE + bytes.fromhex(line.split()[2]) + bytes(32)
        key = b"Tor safe cookie authentication server-to-controller hash"
        proof = hmac.digest(key, message, hashlib.sha256).hex()
        return f"250 AUTHCHALLENGE SERVERHASH={proof} SERVERNONCE={'00' * 32}"

    fake_tor.answers["AUTHCHALLENGE"] = challenge
    async with await connected(fake_tor) as controller:
        await controller.authenticate()
    assert COOKIE.hex() not in await fake_tor.asked("AUTHENTICATE")


async def test_a_port_that_does_not_know_the_cookie_gets_no_proof(fake_tor, short_folder):
    offer(fake_tor, short_folder, "SAFECOOKIE")
    fake_tor.answers["AUTHCHALLENGE"] = (
        f"250 AUTHCHALLENGE SERVERHASH={'00' * 32} SERVERNONCE={'00' * 32}"
    )
    async with await connected(fake_tor) as controller:
        with pytest.raises(TorError, match="does not know"):
            await controller.authenticate()
    assert not [line for line in fake_tor.commands if line.startswith("AUTHENTICATE")]


@pytest.mark.parametrize("answer", ["250 AUTHCHALLENGE", "250 AUTHCHALLENGE SERVERHASH=zz"])
async def test_a_challenge_that_cannot_be_read_is_an_error(fake_tor, short_folder, answer):
    offer(fake_tor, short_folder, "SAFECOOKIE")
    fake_tor.answers["AUTHCHALLENGE"] = answer
    async with await connected(fake_tor) as controller:
        with pytest.raises(TorError):
            await controller.authenticate()


async def test_the_plain_cookie_is_used_where_nothing_better_is_offered(fake_tor, short_folder):
    offer(fake_tor, short_folder, "COOKIE")
    async with await connected(fake_tor) as controller:
        await controller.authenticate()
    assert await fake_tor.asked("AUTHENTICATE") == f"AUTHENTICATE {COOKIE.hex()}"


@pytest.mark.parametrize("content", [b"", COOKIE[:31], COOKIE + b"x", b"a private key" * 100])
async def test_no_other_file_can_be_asked_for_as_a_cookie(fake_tor, short_folder, content):
    offer(fake_tor, short_folder, "COOKIE", content)
    async with await connected(fake_tor) as controller:
        with pytest.raises(HostError):
            await controller.authenticate()
    assert not [line for line in fake_tor.commands if line.startswith("AUTHENTICATE")]


async def test_a_password_alone_is_refused_with_a_way_out(fake_tor, short_folder):
    offer(fake_tor, short_folder, "HASHEDPASSWORD")
    async with await connected(fake_tor) as controller:
        with pytest.raises(TorError, match="CookieAuthentication"):
            await controller.authenticate()


async def test_a_running_tor_closes_a_connection_that_lies(offline_tor: TorProcess):
    async with await Controller.connect(offline_tor.control_address) as controller:
        with pytest.raises(TorError):
            await controller.command("GETINFO version")
        assert isinstance(await controller.closed, TorError)
