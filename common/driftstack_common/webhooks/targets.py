"""Where deliveries may go: to public addresses by https, unless settings allow more.

Anybody with an account can name a URL, and the dispatcher stands inside the cluster's network. So a URL is looked
at when it is registered and again at each delivery, by the addresses that its name resolves to then; a connection
is made to those very addresses, because a second look-up could answer something else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import msgspec

from driftstack_common.errors import DriftstackError
from driftstack_common.hosts import Address, InvalidHost, canonical_host, faces

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str, int], Awaitable[list[Address]]]
"""Resolves a name, for a port; raises OSError when it can't."""

_URL: Final = re.compile(r"(https?)://([^/?#@\\\s]+)([/?][^#\s]*)?(#\S*)?", re.IGNORECASE)
_PORT: Final = re.compile(r":([0-9]*)$")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

LOOKUPS: Final = 192
"""Names that are resolved at once; a resolver that does not answer holds up a thread."""
_LOOKUPS: Final = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")


class TargetError(DriftstackError):
    """A delivery can't go there; the message says why, without the URL's path and query."""


class TargetRefused(TargetError):
    """The rules don't allow it."""


class TargetUnknown(TargetError):
    """Its name can't be resolved now."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed beyond https to public addresses.

    Attributes:
        allow_http: http as well.
        allow_private: loopback and private addresses as well; for development. Addresses of link-local services
            (the metadata of clouds), multicast and reserved ones stay refused.
        refused: further networks, e.g. of the cluster where they are public ones.
    """

    allow_http: bool = False
    allow_private: bool = False
    refused: tuple[Network, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A URL, read.

    Attributes:
        url: with the host in its canonical spelling, without fragment.
        host: a name in lower-case ASCII, or an address.
    """

    url: str
    host: str | Address
    port: int


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# IANA's special-purpose registries, by what is at stake.
_NEVER: Final = {
    "link-local": _networks("169.254.0.0/16", "fe80::/10"),
    "multicast": _networks("224.0.0.0/4", "ff00::/8"),
    "reserved": _networks("0.0.0.0/8", "240.0.0.0/4", "::/128"),
}
_PRIVATE: Final = {
    "loopback": _networks("127.0.0.0/8", "::1/128"),
    "private": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "shared (carrier-grade NAT)": _networks("100.64.0.0/10"),
    "special-purpose": _networks(
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    ),
}  # fmt: skip
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")


def parse_target(url: str, rules: Rules) -> Target:
    """Read a URL, and check all of it that can be checked without resolving its name.

    Raises:
        TargetRefused: it is none, or one that the rules don't allow.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise TargetRefused("the URL is not https://host[:port][/path], without user name, password and spaces")
    scheme, authority, rest = match.group(1).lower(), match.group(2), match.group(3) or "/"
    if scheme != "https" and not rules.allow_http:
        raise TargetRefused("the URL is not https")
    try:
        host = canonical_host(authority)
        name = host.encode("idna").decode() if isinstance(host, str) else host
    except (InvalidHost, UnicodeError) as error:
        raise TargetRefused("the URL has no valid host") from error
    port = _port(authority, scheme)
    if isinstance(name, str):
        if (name == "localhost" or name.endswith(".localhost")) and not rules.allow_private:
            raise TargetRefused("localhost is a loopback address")
    else:
        check_address(name, rules)
    shown = f"[{name}]" if isinstance(name, ipaddress.IPv6Address) else str(name)
    return Target(url=f"{scheme}://{shown}:{port}{rest if rest[0] == '/' else '/' + rest}", host=name, port=port)


def _port(authority: str, scheme: str) -> int:
    match = _PORT.search(authority)
    digits = match.group(1) if match else ""
    port = int(digits) if digits and len(digits) <= 5 else _DEFAULT_PORTS[scheme] if not digits else 0
    if not 0 < port < 65536:
        raise TargetRefused("the URL's port is not between 1 and 65535")
    return port


def check_address(address: Address, rules: Rules) -> None:
    """Check an address, and the IPv4 address that is wrapped in it.

    Raises:
        TargetRefused: the rules don't allow it.
    """
    kind = _why_not(address, rules)
    if kind is not None:
        raise TargetRefused(f"{address} is a {kind} address")


def _why_not(address: Address, rules: Rules) -> str | None:
    """Return the word for what is wrong with an address or what is wrapped in it, None when nothing is."""
    if any(one in network for one in faces(address) for network in rules.refused):
        return "refused (by the settings)"
    kinds = (_kind_of(one, rules) for one in _judged(address))
    return next((kind for kind in kinds if kind is not None), None)


def _judged(address: Address) -> list[Address]:
    """Return what is to be judged by its kind: where a packet ends up.

    That is the IPv4 address alone where the kernel (mapped) or a NAT64 gateway turns packets into IPv4: in networks
    with DNS64, names of hosts without IPv6 resolve to such addresses.
    """
    inner = faces(address)[1:]
    turned = getattr(address, "ipv4_mapped", None) is not None or address in _NAT64
    return inner if turned else [*inner, address]


def _kind_of(address: Address, rules: Rules) -> str | None:
    """Return the word for what is wrong with an address, None when nothing is."""
    found = _found(address, _NEVER)
    if found is None and not rules.allow_private:
        found = _found(address, _PRIVATE)
        if found is None and address.version == 6 and address not in _PUBLIC_V6:
            found = "special-purpose"
    return found


def _found(address: Address, table: dict[str, tuple[Network, ...]]) -> str | None:
    return next((kind for kind, networks in table.items() if any(address in each for each in networks)), None)


async def check_target(url: str, rules: Rules, lookup: Lookup | None = None) -> Target:
    """Check a URL and all addresses that its name has now; return it, read.

    Raises:
        TargetRefused: it is none, or the rules don't allow it or one of its addresses.
        TargetUnknown: its name can't be resolved now.
    """
    target = parse_target(url, rules)
    if isinstance(target.host, str):
        await resolve(target.host, target.port, rules, lookup)
    return target


async def resolve(host: str, port: int, rules: Rules, lookup: Lookup | None = None) -> list[Address]:
    """Return the addresses of a name; all of them are allowed.

    Raises:
        TargetRefused: one of them is not allowed; a name with some of both is an attack or a mistake. Which address
            it is stays untold: who names a URL need not learn where the names of our networks are.
        TargetUnknown: the name can't be resolved now.
    """
    try:
        found = list(dict.fromkeys(await (lookup or look_up)(host, port)))
    except OSError as error:
        raise TargetUnknown(f"the name {host} can't be resolved: {error.strerror or error}") from error
    if not found:
        raise TargetUnknown(f"the name {host} has no address")
    for address in found:
        kind = _why_not(address, rules)
        if kind is not None:
            raise TargetRefused(f"the name {host} has an address that is {kind}")
    return found


async def look_up(host: str, port: int) -> list[Address]:
    """Resolve a name by the system's resolver, in a thread.

    Not by the loop's own getaddrinfo: uvloop resolves two names at a time, so that a name server which does not
    answer would hold up everybody.
    """
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, ask)
    # An IPv6 address with a zone (fe80::1%eth0) is link-local, whatever its zone.
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
