"""Hosts that no browser would take; the spellings of those it takes are in the URL tables of agent and webhooks."""

from __future__ import annotations

import pytest

from driftstack_common.hosts import InvalidHost, canonical_host


@pytest.mark.parametrize("authority", ["", "a.test\n", "a.test:80\n", "1.2.3.4:80\n", "a b.test", "a..test"])
def test_what_is_no_host(authority: str) -> None:
    with pytest.raises(InvalidHost):
        canonical_host(authority)


@pytest.mark.parametrize("authority", ["a.test", "A.test:80", "user:word@a.test:"])
def test_a_port_is_no_part_of_it(authority: str) -> None:
    assert canonical_host(authority) == "a.test"
