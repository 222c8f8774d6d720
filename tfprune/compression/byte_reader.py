"""Bytes read from a place that is not trusted: every step is checked before it is taken."""

from __future__ import annotations

import numpy as np

from tfprune.errors import TfpruneError


class ByteReader:
    """Reads from the front of a block of bytes.

    Args:
        content: the bytes.
        what: what they are, for error messages.
    """

    def __init__(self, content: bytes, what: str) -> None:
        self._content = content
        self._at = 0
        self.what = what

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._content) - self._at

    def take(self, count: int) -> bytes:
        """The next `count` bytes; a `TfpruneError` if there are fewer."""
        if count > self.left:
            raise self.damaged(f"it ends {count - self.left} bytes early")
        self._at += count
        return self._content[self._at - count : self._at]

    def byte(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def number(self, at_most: int) -> int:
        """A number of 7 bits a byte, the lowest first, with a bound that the reader knows."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        if value > at_most:
            raise self.damaged(f"it claims {value} where at most {at_most} can be")
        return value

    def array(self, dtype: str, count: int) -> np.ndarray:
        """`count` numbers of a little-endian type such as "<f4"."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def end(self) -> None:
        """Raises unless all is read."""
        if self.left:
            raise self.damaged(f"{self.left} bytes too many")

    def damaged(self, cause: str) -> TfpruneError:
        """The error that says that these bytes are not what was written."""
        return TfpruneError(f"{self.what} is damaged: {cause}")


def number_bytes(value: int) -> bytes:
    """What `ByteReader.number` reads: 1 byte below 128, 2 below 16384, ..."""
    found = bytearray()
    while value >= 0x80:
        found.append(0x80 | (value & 0x7F))
        value >>= 7
    return bytes([*found, value])
