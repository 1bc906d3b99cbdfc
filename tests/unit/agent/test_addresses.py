from __future__ import annotations

from driftstack_agent.addresses import ipv4_addresses, ipv6_addresses, own_addresses

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.0.0/16 2 0 2
        |-- 10.244.0.1
           /32 link UNICAST
        |-- 10.244.0.7
           /32 host LOCAL
Local:
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000a8bbccfffe000001 02 40 20 80     eth0
fd000000000000000000000000000007 02 40 00 80     eth0
"""


def test_ipv4_addresses_are_the_local_ones() -> None:
    assert ipv4_addresses(FIB_TRIE) == {"10.244.0.7", "127.0.0.1"}


def test_ipv6_addresses_are_canonical() -> None:
    assert ipv6_addresses(IF_INET6) == {"::1", "fe80::a8bb:ccff:fe00:1", "fd00::7"}


def test_this_machine_has_loopback() -> None:
    assert "127.0.0.1" in own_addresses()
