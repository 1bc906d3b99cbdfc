"""Where deliveries may go."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading

import pytest
import uvloop

from driftstack_common.hosts import Address
from driftstack_common.webhooks.targets import (
    Rules,
    TargetRefused,
    TargetUnknown,
    check_target,
    look_up,
    parse_target,
)

STRICT = Rules()
DEVELOPMENT = Rules(allow_http=True, allow_private=True)
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"]
REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "10.0.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fd00::1": "private",
    "fec0::1": "private",
    "100.64.0.1": "shared",
    "100.127.255.255": "shared",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "0.0.0.0": "reserved",
    "0.1.2.3": "reserved",
    "255.255.255.255": "reserved",
    "::": "reserved",
    "198.18.0.1": "special-purpose",
    "192.0.2.1": "special-purpose",
    "2001:db8::1": "special-purpose",
    "2001::1": "special-purpose",
    "64:ff9b::": "reserved",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a00:1": "private",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b::e000:fb": "multicast",
    "64:ff9b:1::1": "special-purpose",
    "2002:7f00:1::": "loopback",
    "2002:5db8:d822::": "special-purpose",
    "::ffff:10.0.0.1": "private",
    "::ffff:169.254.169.254": "link-local",
    "::127.0.0.1": "loopback",
}
LOOPBACK = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1:8443/x",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://%31%32%37.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://[::1]:443/",
    "https://[::ffff:7f00:1]/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
]
NO_URLS = [
    "",
    "example.com",
    "ftp://example.com/",
    "https://",
    "https:///path",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://exa mple.com/",
    "https://example.com/a b",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:999999999999/",
    "https://1.2.3.4.5/",
    "https://256.0.0.1/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://a..b/",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_taken(text: str) -> None:
    shown = f"[{text}]" if ":" in text else text
    assert parse_target(f"https://{shown}/in", STRICT).host == ipaddress.ip_address(text)


@pytest.mark.parametrize(("text", "kind"), REFUSED.items())
def test_others_are_refused_with_their_kind(text: str, kind: str) -> None:
    shown = f"[{text}]" if ":" in text else text
    with pytest.raises(TargetRefused, match=f"is a {kind}"):
        parse_target(f"https://{shown}/in", STRICT)


@pytest.mark.parametrize("url", LOOPBACK)
def test_spellings_of_loopback(url: str) -> None:
    with pytest.raises(TargetRefused, match="loopback"):
        parse_target(url, STRICT)
    assert parse_target(url, DEVELOPMENT).port in (443, 8443)


@pytest.mark.parametrize("url", NO_URLS, ids=ascii)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(TargetRefused):
        parse_target(url, DEVELOPMENT)


def test_messages_hold_neither_path_nor_password() -> None:
    for url in ("https://user:hunter2@127.0.0.1/hunter2", "https://127.0.0.1/?key=hunter2"):
        with pytest.raises(TargetRefused) as caught:
            parse_target(url, STRICT)
        assert "hunter2" not in str(caught.value)


def test_http_needs_a_setting() -> None:
    with pytest.raises(TargetRefused, match="not https"):
        parse_target("http://example.com/", STRICT)
    assert parse_target("http://example.com/", Rules(allow_http=True)).url == "http://example.com:80/"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("HTTPS://Example.COM", "https://example.com:443/"),
        ("https://example.com:8443/a?b=c#part", "https://example.com:8443/a?b=c"),
        ("https://example.com?b=c", "https://example.com:443/?b=c"),
        ("https://bücher.example/", "https://xn--bcher-kva.example:443/"),
        ("https://0x5db8d822/", "https://93.184.216.34:443/"),
        ("https://[2606:2800:220:1:248:1893:25C8:1946]/", "https://[2606:2800:220:1:248:1893:25c8:1946]:443/"),
    ],
)
def test_url_is_sent_as_it_was_judged(url: str, sent: str) -> None:
    assert parse_target(url, STRICT).url == sent


@pytest.mark.parametrize("text", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:169.254.169.254"])
def test_metadata_services_stay_refused_in_development(text: str) -> None:
    shown = f"[{text}]" if ":" in text else text
    with pytest.raises(TargetRefused):
        parse_target(f"http://{shown}/", DEVELOPMENT)


def test_networks_of_the_settings() -> None:
    rules = Rules(refused=(ipaddress.ip_network("93.184.216.0/24"),))
    for url in ("https://93.184.216.34/", "https://[::ffff:93.184.216.34]/", "https://[64:ff9b::5db8:d822]/"):
        with pytest.raises(TargetRefused, match="by the settings"):
            parse_target(url, rules)


def test_nat64_can_be_refused_by_the_settings() -> None:
    rules = Rules(allow_private=True, refused=(ipaddress.ip_network("64:ff9b::/96"),))
    with pytest.raises(TargetRefused, match="by the settings"):
        parse_target("https://[64:ff9b::5db8:d822]/", rules)


def lookup(*texts: str) -> object:
    async def look(_host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address(text) for text in texts]

    return look


async def test_every_address_of_a_name_has_to_be_allowed() -> None:
    assert (await check_target("https://example.com/", STRICT, lookup(*PUBLIC))).host == "example.com"  # type: ignore[arg-type]
    for refused in REFUSED:
        with pytest.raises(TargetRefused, match=r"example\.com has an address that is") as caught:
            await check_target("https://example.com/", STRICT, lookup(PUBLIC[0], refused))  # type: ignore[arg-type]
        assert refused not in str(caught.value), "nobody learns of addresses inside by registering names"


async def test_name_that_has_no_address() -> None:
    async def nothing(_host: str, _port: int) -> list[Address]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(TargetUnknown, match=r"example\.com can't be resolved: Name or service not known"):
        await check_target("https://example.com/", STRICT, nothing)
    with pytest.raises(TargetUnknown, match="has no address"):
        await check_target("https://example.com/", STRICT, lookup())  # type: ignore[arg-type]


def test_names_that_do_not_resolve_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """By uvloop's own resolver they would: it has two threads."""
    all_at_once = threading.Barrier(20)

    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        all_at_once.wait(60)
        return [(None, None, None, "", ("192.0.2.1", 443))]

    async def many() -> list[list[Address]]:
        return await asyncio.gather(*(look_up("hooks.invalid", 443) for _ in range(20)))

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert uvloop.run(many()) == [[ipaddress.ip_address("192.0.2.1")]] * 20
