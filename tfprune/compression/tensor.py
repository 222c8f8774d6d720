"""What a coder codes: which weights of a layer are kept, and their values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfprune.compression.byte_reader import ByteReader

#: Most entries of a codebook; more different values are stored as they are.
CODEBOOK_LIMIT = 4096
# What a kept value costs about, coded as a float32: its sign and exponent code well.
_FLOAT_BITS = 27
_SAMPLE = 4 * CODEBOOK_LIMIT
_ALL_BUT_SIGN = np.uint32(0x7FFFFFFF)


@dataclasses.dataclass(frozen=True, eq=False)
class SparseTensor:
    """A float32 array, told by the entries that are not zero.

    Those come back to the bit, NaN included. A zero of either sign is a removed weight and
    comes back as +0.0: masks that multiply leave many -0.0 behind.

    Attributes:
        shape: of the array.
        positions: (kept,) int64, ascending, into the flattened array (the last axis fastest).
        values: (kept,) float32 values; with a codebook int32 indices into it.
        codebook: (k,) float32 values, or None.
    """

    shape: tuple[int, ...]
    positions: np.ndarray
    values: np.ndarray
    codebook: np.ndarray | None = None

    @classmethod
    def from_array(cls, array: np.ndarray) -> SparseTensor:
        """Takes an array apart; few different values become a codebook where that is smaller."""
        bits = np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint32)
        positions = np.flatnonzero(bits & _ALL_BUT_SIGN)
        bits = bits[positions]
        different = np.unique(bits[:_SAMPLE])
        if len(different) <= CODEBOOK_LIMIT and len(bits) > _SAMPLE:
            different = np.unique(bits)
        # Bits of the codebook, and of the indices into it, against those of plain values.
        shared_bits = 32 * len(different) + len(bits) * math.ceil(math.log2(len(different) or 1))
        if len(different) > CODEBOOK_LIMIT or shared_bits >= _FLOAT_BITS * len(bits):
            return cls(array.shape, positions, bits.view(np.float32))
        order = np.argsort(different.view(np.float32), kind="stable")
        index_of = np.empty(len(order), np.int32)
        index_of[order] = np.arange(len(order), dtype=np.int32)
        indices = index_of[np.searchsorted(different, bits)]
        return cls(array.shape, positions, indices, different[order].view(np.float32))

    def to_array(self) -> np.ndarray:
        """The array, float32."""
        flat = np.zeros(self.size, np.float32)
        flat[self.positions] = self.floats()
        return flat.reshape(self.shape)

    def floats(self) -> np.ndarray:
        """(kept,) float32 values, looked up where there is a codebook."""
        return self.values if self.codebook is None else self.codebook[self.values]

    @property
    def size(self) -> int:
        """Number of weights, kept or not."""
        return math.prod(self.shape)

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return len(self.positions)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(rows, columns) of the tensor seen as a matrix: a column is a filter or neuron."""
        columns = self.shape[-1] if self.shape else 1
        return (self.size // columns if columns else 0), columns


def read_codebook(reader: ByteReader) -> np.ndarray | None:
    """A codebook as all coders write it: its number of entries, then little-endian float32."""
    entries = reader.number(at_most=CODEBOOK_LIMIT)
    return reader.array("<f4", entries).astype(np.float32) if entries else None
