from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from driftstack_agent.framing import Oversize, Splitter

MESSAGES = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"")), max_size=8)


@given(MESSAGES, st.lists(st.integers(0, 400), max_size=10))
def test_messages_survive_any_cut(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(message + b"\0" for message in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    splitter = Splitter()
    got = [found for a, b in pairwise(edges) for found in splitter.feed(stream[a:b])]
    assert got == messages


def test_a_message_over_the_limit_leaves_its_head_and_size() -> None:
    splitter = Splitter(limit=1000)
    big = b'{"id":7,"result":"' + b"x" * 5000
    got = [found for a in range(0, len(big), 10) for found in splitter.feed(big[a : a + 10])]
    assert got == []
    assert list(splitter.feed(b'"}\0{"id":8}\0')) == [Oversize(big[:256], len(big) + 2), b'{"id":8}']


def test_a_message_of_exactly_the_limit_passes() -> None:
    assert list(Splitter(limit=4).feed(b"1234\0" + b"12345\0")) == [b"1234", Oversize(b"12345", 5)]
