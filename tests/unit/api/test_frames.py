"""Following frames by their heads, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftstack_api.devtools.frames import Frames, accept, close_frame, is_key


def frame(opcode: int, length: int, mask: bool = False) -> bytes:
    """Return a frame with a payload of this length."""
    if length < 126:
        head = bytes((0x80 | opcode, mask << 7 | length))
    elif length < 65536:
        head = bytes((0x80 | opcode, mask << 7 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, mask << 7 | 127)) + length.to_bytes(8, "big")
    return head + b"\x88" * 4 * mask + b"\x88" * length


Form = tuple[int, int, bool]


def forms_of(*lengths: int) -> st.SearchStrategy[list[Form]]:
    """Return a strategy of what frames are made of."""
    form = st.tuples(st.sampled_from([0, 1, 2, 9, 10]), st.sampled_from(lengths), st.booleans())
    return st.lists(form, min_size=1, max_size=5)


@given(forms_of(0, 1, 125, 126, 700), st.lists(st.integers(1, 500), min_size=1, max_size=20))
def test_between_frames_is_where_they_end(forms: list[Form], sizes: list[int]) -> None:
    frames = [frame(*form) for form in forms]
    stream, ends, position = b"".join(frames), {0}, 0
    for each in frames:
        ends.add(max(ends) + len(each))
    follower = Frames()
    while position < len(stream):
        size = sizes[position % len(sizes)]
        follower.feed(stream[position : position + size])
        position = min(position + size, len(stream))
        assert follower.between is (position in ends)
    assert follower.between
    assert follower.close_code is None


@given(forms_of(0, 1, 125, 126, 700, 65536), st.integers(0, 70_000))
def test_the_frame_under_way_is_finished_and_no_more(forms: list[Form], cut: int) -> None:
    frames = [frame(*form) for form in forms]
    stream = b"".join(frames)
    cut = min(cut, len(stream) - 1)
    follower, ends = Frames(), [0]
    for each in frames:
        ends.append(ends[-1] + len(each))
    follower.feed(stream[:cut])
    end = cut + follower.finish(stream[cut:])
    assert end == min(each for each in ends if each > cut)
    assert follower.between


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (b"\x11\x3awhy", 4410), (b"\x03", 1005)])
def test_a_close_is_noticed(payload: bytes, code: int) -> None:
    follower = Frames()
    follower.feed(frame(1, 3) + bytes((0x88, len(payload))) + payload)
    assert follower.close_code == code


def test_our_own_close() -> None:
    assert close_frame(4410, "the end") == b"\x88\x09\x11\x3athe end"
    long = close_frame(4401, "ü" * 100)
    assert len(long) == 2 + 2 + 122
    assert long[4:].decode() == "ü" * 61


def test_the_handshake_of_the_standards_example() -> None:
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    assert is_key(key)
    assert accept(key) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for wrong in ("", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZQ", "ü", key + "\n", "*" * 24):
        assert not is_key(wrong)
