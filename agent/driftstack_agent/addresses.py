"""The addresses of the network namespace the agent runs in, from /proc: no page may be asked of them.

Read before Chromium starts, so nothing heavy is imported.
"""

from __future__ import annotations

from typing import Final

FIB_TRIE: Final = "/proc/net/fib_trie"
IF_INET6: Final = "/proc/net/if_inet6"


def own_addresses() -> frozenset[str]:
    """Return every local IPv4 and IPv6 address, loopback included, in canonical text."""
    return frozenset(ipv4_addresses(_read(FIB_TRIE)) | ipv6_addresses(_read(IF_INET6)))


def ipv4_addresses(fib_trie: str) -> set[str]:
    """Return the addresses that fib_trie calls `/32 host LOCAL`."""
    found: set[str] = set()
    address = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.add(address)
    return found


def ipv6_addresses(if_inet6: str) -> set[str]:
    """Return the addresses of if_inet6: 32 hex digits at the start of each line."""
    lines = [line.split() for line in if_inet6.splitlines()]
    if not lines:
        return set()
    import socket  # a quarter of what is imported before Chromium starts, and many pods have no IPv6

    return {socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])) for words in lines if words}


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:  # a kernel without IPv6 has no if_inet6
        return ""
