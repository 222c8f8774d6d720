"""Groups of kept weights that are alike, each with its own frequencies of values.

The weights of one filter are larger than those of another, and so are weights that many others
are kept beside. Told which group a row or column is in, or grouped by what positions tell already,
the coder learns the frequencies of each group for itself; and, within a group, those of each class
of `value_signs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfprune.compression.tensor import SparseTensor
from tfprune.compression.value_signs import CLASSES, ValueSigns

#: What is grouped: nothing, rows, columns, or each weight by the product of the numbers kept in its
#: row and in its column. A file names them by these numbers.
NOTHING, ROWS, COLUMNS, DENSITY = range(4)
#: Logarithms of the numbers of groups to choose from.
_DEPTHS = (1, 2, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class ValueGroups:
    """A way to group the kept weights of a tensor; a group of `DENSITY` needs no telling.

    Attributes:
        by: `NOTHING`, `ROWS`, `COLUMNS` or `DENSITY`.
        depth: logarithm of the number of groups, 0 for `NOTHING`.
        of_line: group of each row (column) that has kept weights, in order; empty for `DENSITY`.
        signs: whether each group has a class for each sign nearby.
    """

    by: int
    depth: int
    of_line: np.ndarray
    signs: bool = False


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


def group_of(positions: np.ndarray, columns: int, groups: ValueGroups) -> np.ndarray:
    """(kept,) int64: the group of each kept weight, at `positions` of the flattened matrix."""
    if groups.by == DENSITY:
        return by_density(positions, columns, groups.depth)
    lines, _ = lines_of(positions, columns, groups.by)
    return groups.of_line[lines]


def by_density(positions: np.ndarray, columns: int, depth: int) -> np.ndarray:
    """(kept,) groups of as many weights each, fewest beside them first; ties in their order.

    Args:
        positions: (kept,) into the flattened matrix.
        columns: of the matrix.
        depth: logarithm of the number of groups.
    """
    row, column = np.divmod(positions, columns)
    beside = np.bincount(row)[row] * np.bincount(column)[column]
    ranks = np.arange(len(positions), dtype=np.int64)
    group = np.empty_like(ranks)
    group[np.argsort(beside, kind="stable")] = (ranks << depth) // len(ranks)
    return group


def best_groups(
    tensor: SparseTensor, symbols: np.ndarray, alphabet: int, signs: ValueSigns | None
) -> ValueGroups:
    """The groups that code the symbols in the fewest bits, by an estimate.

    Lines are ordered by the mean exponent of their weights and cut into groups of equal
    numbers of weights. Bits: the entropy of each group and class, half the logarithm of its
    size for each symbol in use, and the groups themselves.

    Args:
        tensor: has kept weights.
        symbols: (kept,) what is coded of their values.
        alphabet: number of symbols.
        signs: has learned all kept weights; or None, where there are no places.
    """
    everything = slice(0, tensor.kept)
    best, fewest = ValueGroups(NOTHING, 0, np.zeros(1, np.int64)), float("inf")
    groupings = list(_groupings(tensor))
    for classes in (1, CLASSES) if signs else (1,):
        told = 0 if signs is None or classes == 1 else signs.classes(everything)
        cells = told * alphabet + symbols
        width = classes * alphabet
        for by, of_line, group in groupings:
            # Counted once for the most groups; fewer groups are pairs of those.
            depths = (0,) if by == NOTHING else _DEPTHS
            counts = np.bincount(group * width + cells, minlength=width << depths[-1])
            counts = counts.reshape(-1, width)
            for depth in reversed(depths):
                bits = _bits(counts.reshape(-1, alphabet)) + depth * len(of_line)
                if bits < fewest:
                    fewest = bits
                    of_fewer = of_line >> (depths[-1] - depth)
                    best = ValueGroups(by, depth, of_fewer, signs=classes > 1)
                counts = counts[0::2] + counts[1::2]
    return best


def _groupings(tensor: SparseTensor) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(by, group of each line, group of each kept weight), with the most groups there may be."""
    positions, columns = tensor.positions, tensor.matrix_shape[1]
    exponents = tensor.floats().view(np.uint32) >> 23 & 255
    yield NOTHING, np.zeros(1, np.int64), np.zeros(tensor.kept, np.int64)
    for by in (ROWS, COLUMNS):
        lines, count = lines_of(positions, columns, by)
        sizes = np.bincount(lines, minlength=count)
        order = np.argsort(np.bincount(lines, weights=exponents) / sizes, kind="stable")
        before = np.cumsum(sizes[order]) - sizes[order]
        of_line = np.empty(count, np.int64)
        of_line[order] = (before << _DEPTHS[-1]) // tensor.kept
        yield by, of_line, of_line[lines]
    yield DENSITY, np.zeros(0, np.int64), by_density(positions, columns, _DEPTHS[-1])


def _bits(counts: np.ndarray) -> float:
    """Estimated bits of groups, from (groups, symbols) counts."""
    sizes = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(sizes, 1)
    entropy = -np.sum(counts * np.log2(shares, where=counts > 0, out=np.zeros(counts.shape)))
    return float(entropy + np.sum(np.log2(sizes + 1) * (counts > 0)) / 2)
