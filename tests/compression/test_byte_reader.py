"""Numbers and arrays from bytes that are not trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.errors import TfpruneError


def test_numbers_by_hand():
    assert number_bytes(0) == b"\0" and number_bytes(127) == b"\x7f"
    assert number_bytes(128) == b"\x80\1" and number_bytes(300) == b"\xac\2"


@given(st.integers(0, 2**62))
def test_numbers_come_back(value):
    reader = ByteReader(number_bytes(value) + b"x", "it")
    assert reader.number(at_most=2**62) == value and reader.left == 1


def test_arrays_and_bytes_in_order():
    reader = ByteReader(b"\1\2\0\3\0rest", "it")
    assert reader.byte() == 1
    assert reader.array("<u2", 2).tolist() == [2, 3]
    assert reader.take(4) == b"rest"
    reader.end()


@pytest.mark.parametrize(
    ("content", "read", "message"),
    [
        (b"ab", lambda reader: reader.take(5), "it is damaged: it ends 3 bytes early"),
        (b"", lambda reader: reader.byte(), "ends 1 bytes early"),
        (b"\xff", lambda reader: reader.number(at_most=9), "ends 1 bytes early"),
        (b"\x0a", lambda reader: reader.number(at_most=9), "claims 10 where at most 9 can be"),
        (b"\xff" * 20, lambda reader: reader.number(at_most=9), "where at most 9"),
        (b"ab", lambda reader: reader.array("<f4", 2**40), "bytes early"),
        (b"ab", lambda reader: reader.end(), "2 bytes too many"),
    ],
)
def test_what_is_not_there_is_refused(content, read, message):
    with pytest.raises(TfpruneError, match=message):
        read(ByteReader(content, "it"))
