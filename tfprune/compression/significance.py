"""Which weights are kept, coded with what their rows and columns tell.

A tensor is a matrix here: a column is a filter or a neuron, a row one of its inputs. Pruned
networks keep few weights of some rows and columns and many of others. A row with n weights
kept is told by its level, floor(sqrt(n)): as fine as n is certain, since the standard
deviation of a count grows as its square root, and 2 bits a row where the mask is scattered
evenly. A row of level l has about l (l + 1) kept weights, the middle of l^2 ... (l + 1)^2 - 1;
that fraction of the row is f_r, likewise f_c that of a column, and f that of the matrix. The
odds of a weight to be kept are then

    o = o(f_r) o(f_c) / o(f),    o(f) = f / (1 - f),

which is f_r where only rows are told, and f where nothing is. The encoder takes the cheapest
of the four. All of it is whole numbers, exact on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.range_coder import FLAG_BITS, Frequencies, RangeDecoder, RangeEncoder

#: Contexts: neither, rows, columns, both. A file names them by these numbers.
_AXES = _ROWS, _COLUMNS = 1, 2
MODES = range(4)

# Weights coded in one call of the coder: bounds the memory it takes.
_BLOCK = 1 << 20


def best_mode(positions: np.ndarray, shape: tuple[int, int]) -> tuple[int, float]:
    """The contexts that code these positions in the fewest bits, and those bits.

    Args:
        positions: (kept,) ascending, into the flattened matrix.
        shape: (rows, columns) of the matrix.
    """
    rows, columns = np.divmod(positions, max(1, shape[1]))
    levels_of = _levels_of(positions, shape)

    def bits(mode: int) -> float:
        levels = [
            level if mode & axis else np.zeros_like(level)
            for axis, level in zip(_AXES, levels_of, strict=True)
        ]
        chances = _chances(mode, levels, shape, len(positions))
        pairs = np.outer(*(np.bincount(level) for level in levels))
        cell = levels[0][rows] * pairs.shape[1] + levels[1][columns]
        kept = np.bincount(cell, minlength=pairs.size).reshape(pairs.shape)
        p = np.ldexp(chances.astype(np.float64), -FLAG_BITS)
        live = p > 0
        cost = -np.sum(kept[live] * np.log2(p[live]))
        cost -= np.sum((pairs - kept)[live] * np.log2(1 - p[live]))
        told = RangeEncoder()
        for axis, level in zip(_AXES, levels, strict=True):
            if mode & axis:
                told.adaptive(level, Frequencies(_level_count(axis, shape)))
        return float(cost) + 8 * len(told.to_bytes())

    return min(((mode, bits(mode)) for mode in MODES), key=lambda each: each[1])


def encode_positions(
    encoder: RangeEncoder, positions: np.ndarray, shape: tuple[int, int], mode: int
) -> None:
    """Codes the levels of the mode, row by row and column by column, then each weight's flag.

    Rows and columns of level 0 have no flags. None are coded where all or none are kept.

    Args:
        encoder: takes the symbols.
        positions: (kept,) ascending, into the flattened matrix.
        shape: (rows, columns) of the matrix.
        mode: one of `MODES`.
    """
    if len(positions) in (0, shape[0] * shape[1]):
        return
    levels = []
    for axis, level in zip(_AXES, _levels_of(positions, shape), strict=True):
        levels.append(level if mode & axis else np.zeros_like(level))
        if mode & axis:
            encoder.adaptive(level, Frequencies(_level_count(axis, shape)))
    mask = np.zeros(shape, bool)
    mask.reshape(-1)[positions] = True
    for rows, columns, chances in _live_blocks(mode, levels, shape, len(positions)):
        flags = mask[rows[:, None], columns[None, :]]
        encoder.flags(flags.reshape(-1), chances)


def decode_positions(
    decoder: RangeDecoder, reader: ByteReader, kept: int, shape: tuple[int, int], mode: int
) -> np.ndarray:
    """The inverse of `encode_positions`: (kept,) int64 positions.

    Raises:
        TfpruneError: another number of weights than `kept`.
    """
    if kept in (0, shape[0] * shape[1]):
        return np.arange(kept, dtype=np.int64)
    levels = [
        decoder.adaptive(length, Frequencies(_level_count(axis, shape)))
        if mode & axis
        else np.zeros(length, np.int32)
        for axis, length in zip(_AXES, shape, strict=True)
    ]
    found = []
    for rows, columns, chances in _live_blocks(mode, levels, shape, kept):
        hits = np.flatnonzero(decoder.flags(chances))
        row, column = np.divmod(hits, len(columns))
        found.append(rows[row] * shape[1] + columns[column])
    positions = np.concatenate([np.zeros(0, np.int64), *found])
    if len(positions) != kept:
        raise reader.damaged(f"{len(positions)} weights where {kept} are claimed")
    return positions


def _levels_of(positions: np.ndarray, shape: tuple[int, int]) -> list[np.ndarray]:
    """Levels of the rows and of the columns."""
    rows, columns = np.divmod(positions, max(1, shape[1]))
    counts = [np.bincount(rows, minlength=shape[0]), np.bincount(columns, minlength=shape[1])]
    # Exact: float64 holds the counts, and its square root is rounded correctly.
    return [np.sqrt(count).astype(np.int32) for count in counts]


def _level_count(axis: int, shape: tuple[int, int]) -> int:
    """Number of levels of a row (a column): one more than that of a full one."""
    return int(np.sqrt(shape[1] if axis == _ROWS else shape[0])) + 1


def _chances(mode: int, levels: list[np.ndarray], shape: tuple[int, int], kept: int) -> np.ndarray:
    """(row levels, column levels) int64: probability of a flag, in 2^-20; 0 for level 0.

    Fractions are of Python's whole numbers, which do not overflow.
    """
    size = shape[0] * shape[1]
    odds = []
    for axis, level in zip(_AXES, levels, strict=True):
        if mode & axis:
            full = 2 * (shape[1] if axis == _ROWS else shape[0])
            # Not quite full, since the level does not tell.
            twice = [min(2 * k * (k + 1), full - 1) for k in range(int(level.max()) + 1)]
            odds.append([(n, full - n) for n in twice])
        else:
            odds.append([(kept, size - kept)])
    chances = np.zeros((len(odds[0]), len(odds[1])), np.int64)
    for i, (row, not_row) in enumerate(odds[0]):
        for j, (column, not_column) in enumerate(odds[1]):
            yes = row * column * (size - kept)
            no = not_row * not_column * kept
            if yes:
                chances[i, j] = min(max((yes << FLAG_BITS) // (yes + no), 1), (1 << FLAG_BITS) - 1)
    return chances


def _live_blocks(
    mode: int, levels: list[np.ndarray], shape: tuple[int, int], kept: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, columns, chances of their flags) of what has flags, some rows at a time."""
    chances = _chances(mode, levels, shape, kept)
    rows = np.flatnonzero(levels[0]) if mode & _ROWS else np.arange(shape[0])
    columns = np.flatnonzero(levels[1]) if mode & _COLUMNS else np.arange(shape[1])
    step = max(1, _BLOCK // max(1, len(columns)))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        cells = chances[levels[0][block][:, None], levels[1][columns][None, :]]
        yield block, columns, cells.reshape(-1)
