"""Hosts of URLs as browsers read them (the URL standard of WHATWG), because 127.0.0.1 has many spellings.

`127.1`, `0x7f.1`, `2130706433`, `①②⑦.0.0.1`, `%31%32%37.1`, `[::ffff:7f00:1]` are some of them.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from driftstack_common.errors import DriftstackError

# Code points that names are mapped without (UTS 46): soft hyphen, joiners, variation selectors, BOM.
_UNSEEN: Final = re.compile("[\u00ad\u034f\u180b-\u180f\u200b-\u200d\u2060\u2064\ufe00-\ufe0f\ufeff]")
_DOTS: Final = re.compile("[\u3002\uff0e\uff61]")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class InvalidHost(DriftstackError):
    """There is no host, or no browser would take it."""


def canonical_host(authority: str) -> str | Address:
    """Return the host of an authority as a browser resolves it: a lower-case name or an address.

    Raises:
        InvalidHost: there is none, or no browser would take it.
    """
    raw = authority.rpartition("@")[2]
    if raw.startswith("["):
        return _ipv6(raw)
    raw = raw.rpartition(":")[0] if re.search(r":[0-9]*\Z", raw) else raw
    name = unquote_to_bytes(raw).decode("utf-8", "replace")
    name = _DOTS.sub(".", unicodedata.normalize("NFKC", _UNSEEN.sub("", name)).casefold())
    labels = (name[:-1] if name.endswith(".") else name).split(".")
    if not all(labels) or re.search(r"[\x00-\x20\x7f#/:<>?@\[\\\]^|%]", name):
        raise InvalidHost("the URL has no valid host")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    return ".".join(labels)


def faces(address: Address) -> list[Address]:
    """Return the address and the IPv4 address inside: mapped, compatible, NAT64 (64:ff9b::/96) or 6to4."""
    if not isinstance(address, ipaddress.IPv6Address):
        return [address]
    packed = address.packed
    inner = [address.ipv4_mapped, address.sixtofour]
    if packed[:12] in (bytes(12), bytes.fromhex("0064ff9b0000000000000000")) and int(address) > 0xFFFF:
        inner.append(ipaddress.IPv4Address(packed[12:]))
    return [address, *(one for one in inner if one is not None)]


def _ipv6(raw: str) -> ipaddress.IPv6Address:
    try:
        address = ipaddress.IPv6Address(raw[1 : raw.index("]")])
        if address.scope_id is not None:  # browsers know no zones
            raise ValueError(raw)
        return address
    except ValueError as error:
        raise InvalidHost("the URL has no valid host") from error


def _ipv4(labels: list[str]) -> ipaddress.IPv4Address:
    """Read one to four numbers, decimal, octal or hexadecimal; the last fills the bytes that are left."""
    try:
        *front, last = [_number(label) for label in labels]
        if len(front) > 3 or any(part > 255 for part in front) or last >= 256 ** (4 - len(front)):
            raise ValueError(labels)
    except ValueError as error:
        raise InvalidHost("the URL has no valid host") from error
    value = sum(part << (24 - 8 * index) for index, part in enumerate(front))
    return ipaddress.IPv4Address(value + last)


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if label.startswith("0") else int(label)
