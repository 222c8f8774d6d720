"""The range coder for variables that are not kernels: few, and of no shape that tells anything.

Each array for itself, as `plain` stores them, by its type:

    int8       of each value the class c = bits of |v|, 0 to 8 (adaptive); the sign of each that is
               not 0 (uniform in 2); class by class from 2 the lower c - 1 bits of |v| (uniform)
    float16    the smallest and largest upper byte (uniform in 256 each); the upper byte of each
               value, from the smallest (adaptive); the lower byte of each (uniform in 256)
    others     their bytes, little-endian (uniform in 256)

An array of no value takes nothing.
"""

from __future__ import annotations

import numpy as np

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.range_coder import Frequencies, RangeDecoder, RangeEncoder
from tfprune.errors import TfpruneError

_BYTE = 1 << 8
_CLASSES = 9  # of int8: |v| is at most 2^7


class PlainEncoder:
    """Codes arrays one after another."""

    def __init__(self) -> None:
        self._coder = RangeEncoder()

    def array(self, values: np.ndarray) -> None:
        """Codes one of shape (n,)."""
        if not len(values):
            return
        if values.dtype == np.int8:
            sizes = np.abs(values.astype(np.int32))
            classes = _bit_lengths(sizes)
            self._coder.adaptive(classes, Frequencies(_CLASSES))
            self._coder.uniform(values[sizes > 0] < 0, 2)
            for c in range(2, _CLASSES):
                below = 1 << (c - 1)
                self._coder.uniform(sizes[classes == c] - below, below)
        elif values.dtype == np.float16:
            lower, upper = values.astype("<f2").view(np.uint8).reshape(-1, 2).T.astype(np.int32)
            first, last = int(upper.min()), int(upper.max())
            self._coder.uniform(np.array([first, last]), _BYTE)
            self._coder.adaptive(upper - first, Frequencies(last - first + 1))
            self._coder.uniform(lower, _BYTE)
        else:
            self._coder.uniform(np.frombuffer(values.tobytes(), np.uint8), _BYTE)

    def to_bytes(self) -> bytes:
        """All that was coded."""
        return self._coder.to_bytes()


class PlainDecoder:
    """Reads what a `PlainEncoder` wrote, given types and numbers of values in the same order.

    Args:
        reader: all that is left of it is the coder's.
    """

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._coder = RangeDecoder(reader)

    def array(self, dtype: str, count: int) -> np.ndarray:
        """(count,) numbers of a little-endian type such as "<f4".

        Raises:
            TfpruneError: bytes that a `PlainEncoder` does not write.
        """
        kind = np.dtype(dtype)
        if not count:
            return np.zeros(0, kind)
        if kind == np.int8:
            classes = self._coder.adaptive(count, Frequencies(_CLASSES))
            sizes = (classes == 1).astype(np.int32)
            negative = np.zeros(count, bool)
            negative[classes > 0] = self._coder.uniform(int(np.count_nonzero(classes)), 2) > 0
            for c in range(2, _CLASSES):
                below = 1 << (c - 1)
                of_class = classes == c
                members = int(np.count_nonzero(of_class))
                sizes[of_class] = below + self._coder.uniform(members, below)
            if (sizes > np.where(negative, 128, 127)).any():
                raise self.damaged("a number beyond int8")
            return np.where(negative, -sizes, sizes).astype(np.int8)
        if kind == np.float16:
            first, last = self._coder.uniform(2, _BYTE).tolist()
            if last < first:
                raise self.damaged(f"upper bytes from {first} to {last}")
            upper = first + self._coder.adaptive(count, Frequencies(last - first + 1))
            lower = self._coder.uniform(count, _BYTE)
            return np.stack([lower, upper], axis=1).astype(np.uint8).reshape(-1).view("<f2")
        found = self._coder.uniform(count * kind.itemsize, _BYTE)
        return np.frombuffer(found.astype(np.uint8).tobytes(), kind)

    def end(self) -> None:
        """Raises if there are certainly values left."""
        self._coder.end()

    def damaged(self, cause: str) -> TfpruneError:
        """The error that says that these bytes are not what was written."""
        return self._reader.damaged(cause)


def _bit_lengths(sizes: np.ndarray) -> np.ndarray:
    """Bits of integers from 0 to 128: 0, 1, 2, 2, 3, ..."""
    return np.searchsorted(1 << np.arange(_CLASSES - 1), sizes, side="right")
