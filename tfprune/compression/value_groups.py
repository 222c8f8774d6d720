"""Groups of rows or columns whose kept weights are alike, each with its own frequencies.

The weights of one filter are larger than those of another; told which group a row or column
is in, the coder learns the frequencies of each group for itself.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfprune.compression.tensor import SparseTensor

#: What is grouped: nothing, rows, columns. A file names them by these numbers.
NOTHING, ROWS, COLUMNS = range(3)
#: Logarithms of the numbers of groups to choose from.
_DEPTHS = (1, 2, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class ValueGroups:
    """A way to group the kept weights of a tensor.

    Attributes:
        by: `NOTHING`, `ROWS` or `COLUMNS`.
        depth: logarithm of the number of groups, 0 for `NOTHING`.
        of_line: group of each row (column) that has kept weights, in order.
    """

    by: int
    depth: int
    of_line: np.ndarray


def lines_of(positions: np.ndarray, columns: int, by: int) -> tuple[np.ndarray, int]:
    """Which of the rows (columns) with kept weights each kept weight is in.

    Args:
        positions: (kept,) into the flattened matrix.
        columns: of the matrix.
        by: `NOTHING`, which makes a single line, `ROWS` or `COLUMNS`.

    Returns:
        (kept,) numbers of lines, and how many lines there are.
    """
    if by == NOTHING:
        return np.zeros(len(positions), np.int64), 1
    lines = positions // columns if by == ROWS else positions % columns
    used = np.flatnonzero(np.bincount(lines))
    number = np.zeros(used[-1] + 1, np.int64)
    number[used] = np.arange(len(used))
    return number[lines], len(used)


def best_groups(tensor: SparseTensor, symbols: np.ndarray, alphabet: int) -> ValueGroups:
    """The groups that code the symbols in the fewest bits, by an estimate.

    Lines are ordered by the mean exponent of their weights and cut into groups of equal
    numbers of weights. Bits: the entropy of each group, half the logarithm of its size for
    each symbol in use, and the groups themselves.

    Args:
        tensor: has kept weights.
        symbols: (kept,) what is coded of their values.
        alphabet: number of symbols.
    """
    exponents = tensor.floats().view(np.uint32) >> 23 & 255
    best = ValueGroups(NOTHING, 0, np.zeros(1, np.int64))
    fewest = _bits(np.bincount(symbols, minlength=alphabet)[None])
    for by in (ROWS, COLUMNS):
        lines, count = lines_of(tensor.positions, tensor.matrix_shape[1], by)
        sizes = np.bincount(lines, minlength=count)
        order = np.argsort(np.bincount(lines, weights=exponents) / sizes, kind="stable")
        before = np.cumsum(sizes[order]) - sizes[order]
        # Counted once for the most groups; fewer groups are pairs of those.
        of_line = np.empty(count, np.int64)
        of_line[order] = (before << _DEPTHS[-1]) // tensor.kept
        cells = of_line[lines] * alphabet + symbols
        counts = np.bincount(cells, minlength=alphabet << _DEPTHS[-1]).reshape(-1, alphabet)
        for depth in reversed(_DEPTHS):
            bits = _bits(counts) + depth * count
            if bits < fewest:
                fewest = bits
                best = ValueGroups(by, depth, of_line >> (_DEPTHS[-1] - depth))
            counts = counts[0::2] + counts[1::2]
    return best


def _bits(counts: np.ndarray) -> float:
    """Estimated bits of groups, from (groups, symbols) counts."""
    sizes = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(sizes, 1)
    entropy = -np.sum(counts * np.log2(shares, where=counts > 0, out=np.zeros(counts.shape)))
    return float(entropy + np.sum(np.log2(sizes + 1) * (counts > 0)) / 2)
