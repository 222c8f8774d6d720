"""Which weights are kept, coded row by row with what was kept nearby and in the column so far.

The rows of a kernel have an order: pixels of an image, places of a filter. Weights of a neuron
are kept side by side, and rows that lie above each other in an image are a fixed number of rows
apart in the matrix, its *lag* (28 for images of 28 pixels a side; the number of channels in
other kernels). The context of a flag in row r and column c is one of 4 x 3 x 4:

    column   n_c of the r rows before kept c; (n_c + 1) / (r f + 1), f the kept fraction of the
             matrix, is less than 0.35, 0.71, 1.41, or not
    row      the mean m of the kept weights of rows r - 1, r - 2, r - lag - 1, r - lag, r - lag + 1
             (those that there are; none: 1): (m + 1/2) / (f C + 1/2) is less than 0.71, 1.41, or
             not; C the number of columns
    flags    how many of (r - 1, c), (r - lag - 1, c), (r - lag, c), (r - lag + 1, c) are kept, at
             most 3; with lag 1 of (r - 1, c) alone

and the chance of a flag is that of the flags before in its context, learned row after row. All
of it is whole numbers, exact on every machine.
"""

from __future__ import annotations

import numpy as np

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.range_coder import FLAG_BITS, RangeDecoder, RangeEncoder

#: Narrower matrices are not coded this way, nor taller ones: each row takes a step in Python.
FEWEST_COLUMNS, MOST_ROWS = 32, 1 << 17

_COLUMN_BOUNDS, _ROW_BOUNDS = (35, 71, 141), (71, 141)
_FLAGS = 4
# A flag counts 10, a context begins with 4 of each kind or less; it forgets beyond the limit.
_COUNT, _BEGIN, _LIMIT = 10, 4, 1 << 22
_LARGEST_LAG, _SAMPLED_COLUMNS = 512, 64


def is_possible(shape: tuple[int, int]) -> bool:
    """Whether a matrix of that shape can be coded this way."""
    return shape[0] <= MOST_ROWS and shape[1] >= FEWEST_COLUMNS


def best_lag(positions: np.ndarray, shape: tuple[int, int]) -> tuple[int, float]:
    """The lag that codes these positions in the fewest bits, and those bits, by an estimate.

    Two are tried: 1, and the one at which columns most often agree with themselves.

    Args:
        positions: (kept,) ascending, into the flattened matrix; neither none nor all.
        shape: (rows, columns) of the matrix, a possible one.
    """
    mask = _mask_of(positions, shape)
    fullest = np.argsort(-mask.sum(axis=0), kind="stable")[:_SAMPLED_COLUMNS]
    sample = np.ascontiguousarray(mask[:, fullest])
    lags = range(2, min(_LARGEST_LAG, shape[0] // 4) + 1)
    agreement = [np.mean(sample[lag:] & sample[:-lag]) for lag in lags]
    tried = [1, *([lags[int(np.argmax(agreement))]] if agreement else [])]
    return min(((lag, _bits(mask, len(positions), lag)) for lag in tried), key=lambda each: each[1])


def encode_neighbours(
    encoder: RangeEncoder, positions: np.ndarray, shape: tuple[int, int], lag: int
) -> None:
    """Codes each weight's flag, row by row.

    Args:
        encoder: takes the symbols.
        positions: (kept,) ascending, into the flattened matrix; neither none nor all.
        shape: (rows, columns) of the matrix, a possible one.
        lag: from 1, at most the number of rows.
    """
    mask = _mask_of(positions, shape)
    model = _Rows(mask, len(positions), lag)
    for row in range(shape[0]):
        encoder.flags(mask[row], model.chances(row))
        model.learn(row)


def decode_neighbours(
    decoder: RangeDecoder, reader: ByteReader, kept: int, shape: tuple[int, int], lag: int
) -> np.ndarray:
    """The inverse of `encode_neighbours`: (kept,) int64 positions.

    Raises:
        TfpruneError: another number of weights than `kept`.
    """
    mask = np.zeros(shape, bool)
    model = _Rows(mask, kept, lag)
    for row in range(shape[0]):
        mask[row] = decoder.flags(model.chances(row))
        model.learn(row)
    positions = np.flatnonzero(mask)
    if len(positions) != kept:
        raise reader.damaged(f"{len(positions)} weights where {kept} are claimed")
    return positions


def _mask_of(positions: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask.reshape(-1)[positions] = True
    return mask


def _bits(mask: np.ndarray, kept: int, lag: int) -> float:
    """What coding takes but for the rounding of the coder."""
    model = _Rows(mask, kept, lag)
    bits = 0.0
    for row, flags in enumerate(mask):
        p = np.ldexp(model.chances(row).astype(np.float64), -FLAG_BITS)
        bits -= np.sum(np.log2(np.where(flags, p, 1 - p)))
        model.learn(row)
    return float(bits)


class _Rows:
    """Contexts and their counts, while the rows of `mask` become known one after another."""

    def __init__(self, mask: np.ndarray, kept: int, lag: int) -> None:
        self._mask, self._kept, self._lag = mask, kept, lag
        self._columns = np.zeros(mask.shape[1], np.int64)
        self._in_row: list[int] = []
        contexts = (len(_ROW_BOUNDS) + 1, (len(_COLUMN_BOUNDS) + 1) * _FLAGS)
        self._no = np.full(contexts, _BEGIN, np.int64)
        self._yes = np.full(contexts, max(1, min(_BEGIN, 16 * kept // mask.size)), np.int64)
        self._cells = np.zeros(mask.shape[1], np.int64)
        self._row_class = 0

    def chances(self, row: int) -> np.ndarray:
        """(columns,) int64: probability of each flag of the row, in 2^-20."""
        size = self._mask.size
        expected = row * self._kept + size  # (r f + 1) in units of 1 / size
        # n + 1 >= bound (r f + 1), in Python's whole numbers, which do not overflow.
        least = [-(-bound * expected // (100 * size)) - 1 for bound in _COLUMN_BOUNDS]
        cells = np.searchsorted(np.array(least, np.int64), self._columns, side="right")
        lags = [1] if self._lag == 1 else sorted({1, *range(self._lag - 1, self._lag + 2)})
        cells *= _FLAGS
        near = np.zeros(len(cells), np.int64)
        for lag in lags:
            if lag <= row:
                near += self._mask[row - lag]
        cells += np.minimum(near, _FLAGS - 1)
        self._cells = cells
        self._row_class = self._class_of(row)
        yes, no = self._yes[self._row_class], self._no[self._row_class]
        table = (yes << FLAG_BITS) // (yes + no)
        return np.clip(table, 1, (1 << FLAG_BITS) - 1)[cells]

    def _class_of(self, row: int) -> int:
        places = {1, 2, self._lag - 1, self._lag, self._lag + 1}
        known = [self._in_row[row - place] for place in places if 0 < place <= row]
        if not known:
            return 1
        size, columns = self._mask.size, self._mask.shape[1]
        mean = 100 * (2 * sum(known) + len(known)) * size
        middle = len(known) * (2 * self._kept * columns + size)
        return sum(mean >= bound * middle for bound in _ROW_BOUNDS)

    def learn(self, row: int) -> None:
        """Takes over a row, which the mask holds by now."""
        flags = self._mask[row]
        yes, no = self._yes[self._row_class], self._no[self._row_class]
        yes += _COUNT * np.bincount(self._cells[flags], minlength=len(yes))
        no += _COUNT * np.bincount(self._cells[~flags], minlength=len(no))
        full = yes + no > _LIMIT
        yes[full] = (yes[full] + 1) // 2
        no[full] = (no[full] + 1) // 2
        self._columns += flags
        self._in_row.append(int(np.count_nonzero(flags)))
