"""The signs of what was kept nearby, as a context of values.

Neighbours have their signs in common: the weights of a neuron for pixels side by side, those of a
filter for one channel at places side by side. The *places* of a kernel are pixels of an image or
taps of a filter, and lie a fixed number of rows of its matrix apart. A kept weight is of one of
three classes: the sum of the signs of those kept at the same column and

    kernels (..., w, C, F)    C, w C, ... rows before: the tap before along each axis of more than
                              one tap
    matrices with a lag       1, lag - 1, lag, lag + 1 rows before (see `neighbours`)

is negative, zero, or positive. Other tensors have no places, nor kernels of more than 2^17 taps.
The smallest of the distances is how many rows are coded at a time: none of their classes depends
on another of their signs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tfprune.compression.neighbours import MOST_ROWS

CLASSES = 3


def distances(shape: tuple[int, ...], lag: int) -> tuple[int, ...]:
    """How many rows before a weight the places are that it is compared with, ascending.

    Args:
        shape: of the tensor.
        lag: of its matrix, or 0.
    """
    if len(shape) < 3:
        return tuple(sorted({1, lag - 1, lag, lag + 1} - {0})) if lag else ()
    if math.prod(shape[:-2]) > MOST_ROWS:
        return ()
    found = set()
    rows = shape[-2]
    for taps in reversed(shape[:-2]):
        if taps > 1:
            found.add(rows)
        rows *= taps
    return tuple(sorted(found))


class ValueSigns:
    """Classes of kept weights, while the signs before them become known."""

    def __init__(
        self, positions: np.ndarray, shape: tuple[int, int], rows: tuple[int, ...]
    ) -> None:
        """Takes the places of the kept weights.

        Args:
            positions: (kept,) ascending, into the flattened matrix.
            shape: (rows, columns) of the matrix.
            rows: what `distances` gave; not empty.
        """
        self._positions, self._shape, self._rows = positions, shape, rows
        self._signs = np.zeros(shape[0] * shape[1], np.int8)

    def blocks(self) -> Iterator[slice]:
        """Parts of the kept weights, in order, whose classes do not depend on each other."""
        ends = np.arange(self._rows[0], self._shape[0], self._rows[0])
        cuts = np.searchsorted(self._positions, ends * self._shape[1]).tolist()
        for start, stop in zip([0, *cuts], [*cuts, len(self._positions)], strict=True):
            if start < stop:
                yield slice(start, stop)

    def classes(self, block: slice) -> np.ndarray:
        """(n,) the class of each of a part of the kept weights: 0, 1 or 2."""
        sums = np.zeros(block.stop - block.start, np.int8)
        for rows in self._rows:
            before = self._positions[block] - rows * self._shape[1]
            sums += np.where(before >= 0, self._signs[np.maximum(before, 0)], np.int8(0))
        return np.sign(sums).astype(np.int64) + 1

    def learn(self, members: np.ndarray | slice, above: np.ndarray) -> None:
        """Takes over whether each of some kept weights is above zero."""
        self._signs[self._positions[members]] = np.where(above, 1, -1)
