"""Looking names up: a table, and the host's resolver in threads that belong to it alone."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address

import pytest

from bento.egress import SystemResolver, TableResolver
from bento.egress.limits import MAX_ANSWERS


async def test_a_table_answers_for_its_names_and_asks_another_for_the_rest() -> None:
    asked: list[str] = []

    async def other(name: str) -> list[object]:
        asked.append(name)
        return [ip_address("8.8.8.8")]

    table = TableResolver({"a.test": [ip_address("127.80.0.1")]}, other)  # type: ignore[arg-type]
    assert await table("a.test") == [ip_address("127.80.0.1")]
    assert await table("b.test") == [ip_address("8.8.8.8")]
    assert asked == ["b.test"]


async def test_a_name_that_nobody_knows_is_an_ordinary_error() -> None:
    with pytest.raises(socket.gaierror):
        await TableResolver({})("a.test")


async def test_answers_are_few_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def answer(host: bytes, port: None, **_: object) -> list[object]:
        asked.append(host)
        assert threading.current_thread().name.startswith("egress-lookup")
        one = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
        many = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"2001:db8::{n}", 0, 0, 0))
            for n in range(1, 100)
        ]
        return [one, one, *many]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    resolver = SystemResolver()
    try:
        answers = await resolver("a.test")
    finally:
        resolver.close()
    assert asked == [b"a.test."], "without the final dot the host's search list would be tried"
    assert answers[:2] == [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    assert len(answers) == MAX_ANSWERS
