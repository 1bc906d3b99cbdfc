"""Attempts over real sockets: what comes of bad receivers, and that only what was checked is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from driftstack import verify_webhook_signature

from driftstack_cluster.certificates import Authority, Subject
from driftstack_common.hosts import Address
from driftstack_common.webhooks.targets import Rules
from driftstack_operator.webhooks.schedule import Answer
from driftstack_operator.webhooks.sender import Sender
from tests.receivers.receiver import BIG, Receiver
from tests.unit.webhooks.builders import SECRET, delivery, endpoint

LOCAL = Rules(allow_http=True, allow_private=True)
FORBIDDEN = Rules(allow_http=True, allow_private=True, refused=(ipaddress.ip_network("127.0.0.2/32"),))
NAME = "hooks.example.com"
ONE = delivery(endpoint())


class Names:
    """A resolver that answers as told, the last answer for ever; `asked` counts."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, _port: int) -> list[Address]:
        assert host == NAME
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ipaddress.ip_address(text) for text in answer.split()]


@asynccontextmanager
async def sender(rules: Rules = LOCAL, **options: Any) -> Any:
    made = Sender(rules, **options)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as receiver:
        yield receiver


async def attempt(url: str, rules: Rules = LOCAL, **options: Any) -> Answer:
    async with sender(rules, **options) as made:
        answer: Answer = await made.send(url, ONE, [SECRET])
        return answer


async def test_arrives_signed(receiver: Receiver) -> None:
    assert await attempt(receiver.url("/ok")) == Answer(status=200, excerpt="thank you")
    (received,) = receiver.received
    assert received.body == ONE.spec.payload.encode()
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-driftstack-event-id"] == ONE.spec.event_id
    assert received.headers["x-driftstack-event-type"] == "test.ping"
    header = received.headers["x-driftstack-signature"]
    assert verify_webhook_signature(body=received.body, header=header, secret=SECRET)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/status/500", Answer(status=500, excerpt="this is 500", error="answered 500")),
        ("/status/404", Answer(status=404, excerpt="this is 404", error="answered 404")),
        ("/status/299", Answer(status=299, excerpt="this is 299")),
        ("/elsewhere", Answer(status=302, excerpt="", error="answered 302: redirects are not followed")),
        ("/hang-up", Answer(error="the connection was closed before an answer")),
        ("/cut", Answer(status=200, excerpt="y" * 1000)),
    ],
)
async def test_what_comes_of_a_receiver(receiver: Receiver, path: str, answer: Answer) -> None:
    assert await attempt(receiver.url(path)) == answer
    assert [each.path for each in receiver.received] == [path], "nothing is followed or repeated"


async def test_slow_receiver_is_left(receiver: Receiver) -> None:
    assert await attempt(receiver.url("/slow/60"), seconds=0.3) == Answer(error="no answer within 0.3 s")


async def test_body_that_never_ends_holds_nobody_up(receiver: Receiver) -> None:
    answer = await attempt(receiver.url("/drip"))
    assert answer.status == 200
    assert answer.error is None
    assert set(answer.excerpt or ".") == {"."}


async def test_of_a_large_body_the_beginning_is_read(receiver: Receiver) -> None:
    answer = await attempt(receiver.url("/big"))
    assert answer == Answer(status=200, excerpt="x" * 4096)
    assert receiver.sent < BIG, "the rest stayed with the receiver"


async def test_status_that_is_none_is_no_answer() -> None:
    """It could not be stored, and the delivery would be given up at once."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 042 What\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await attempt(f"http://127.0.0.1:{port}/") == Answer(error="no valid answer: status 42")


async def test_nobody_listens() -> None:
    with Receiver().serving() as receiver:
        url = receiver.url("/ok")
    assert await attempt(url) == Answer(error="can't connect: Connection refused")


async def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await attempt(receiver.url("/ok"))).status == 200


async def test_strict_rules_refuse_what_is_here(receiver: Receiver) -> None:
    for url, why in {
        receiver.url("/ok"): "refused: the URL is not https",
        f"https://127.0.0.1:{receiver.port}/ok": "refused: 127.0.0.1 is a loopback address",
        f"https://2130706433:{receiver.port}/ok": "refused: 127.0.0.1 is a loopback address",
        f"https://0177.0.0.1:{receiver.port}/ok": "refused: 127.0.0.1 is a loopback address",
        f"https://[::ffff:127.0.0.1]:{receiver.port}/ok": "refused: ::ffff:7f00:1 is a loopback address",
    }.items():
        assert await attempt(url, Rules()) == Answer(error=why)
    assert not receiver.received


async def test_name_is_resolved_once_and_its_checked_address_connected_to(receiver: Receiver) -> None:
    """A second look-up would have answered with another address: DNS rebinding."""
    names = Names("127.0.0.1", "127.0.0.2")
    url = f"http://{NAME}:{receiver.port}/ok"
    with Receiver("127.0.0.2").serving() as forbidden:
        async with sender(FORBIDDEN, lookup=names) as made:
            assert (await made.send(url, ONE, [SECRET])).status == 200
            assert names.asked == 1
            answer = await made.send(url, ONE, [SECRET])
            assert answer == Answer(
                error=f"refused: the name {NAME} has an address that is refused (by the settings)"
            )
            assert names.asked == 2, "each attempt looks anew"
        assert not forbidden.received
    assert received_host(receiver) == f"{NAME}:{receiver.port}"


def received_host(receiver: Receiver) -> str:
    (received,) = receiver.received
    return received.headers["host"]


async def test_one_forbidden_address_among_others_is_enough(receiver: Receiver) -> None:
    answer = await attempt(f"http://{NAME}:{receiver.port}/ok", FORBIDDEN, lookup=Names("127.0.0.1 127.0.0.2"))
    assert (answer.error or "").startswith(f"refused: the name {NAME} ")
    assert not receiver.received


async def test_second_address_is_tried_when_the_first_does_not_answer(receiver: Receiver) -> None:
    answer = await attempt(f"http://{NAME}:{receiver.port}/ok", lookup=Names("127.0.0.9 127.0.0.1"))
    assert answer.status == 200


async def test_what_was_never_checked_is_not_connected_to(receiver: Receiver) -> None:
    """The last gate, past parser and resolver: a client that came by an address in another way."""
    async with sender(Rules(allow_http=True)) as made:
        with pytest.raises(Exception, match="loopback"):
            await made._session.post(receiver.url("/ok"))
    assert not receiver.received


def tls(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server with a certificate for this name, and of a client that trusts it."""
    authority = Authority(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue(Subject("server", name, names=(name,))))
    return server, ssl.create_default_context(cafile=str(authority.certificate_file))


async def test_certificate_is_checked_by_the_name(tmp_path: Path) -> None:
    right, trust = tls(tmp_path / "right", NAME)
    wrong, trust_wrong = tls(tmp_path / "wrong", "other.example.com")
    for server, client, status in ((right, trust, 200), (wrong, trust_wrong, None), (right, trust_wrong, None)):
        with Receiver(certificate=server).serving() as receiver:
            url = f"https://{NAME}:{receiver.port}/ok"
            answer = await attempt(url, Rules(allow_private=True), lookup=Names("127.0.0.1"), trust=client)
        assert answer.status == status
        assert status or (answer.error or "").startswith("the certificate is not trusted")


async def test_many_at_once_hold_each_other_up_by_nothing(receiver: Receiver) -> None:
    async with sender() as made:
        slow = [asyncio.create_task(made.send(receiver.url("/slow/9"), ONE, [SECRET])) for _ in range(100)]
        answers = await asyncio.gather(*(made.send(receiver.url("/ok"), ONE, [SECRET]) for _ in range(100)))
        assert {answer.status for answer in answers} == {200}
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
