"""The k-th lowest of many scores: one pass and a small partition. NumPy only.

A partition of all scores moves each of them several times and needs a buffer of their size.
Here a sample brackets the answer between two values that lie close together; one pass counts
what lies below and collects what lies between; the answer is among the collected few. Source:
Floyd and Rivest 1975, *Expected time bounds for selection*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

#: Scores compared at a time: their flags stay in the cache.
BLOCK = 1 << 16
#: Drawn for the bracket; up to a few times as many scores are partitioned at once.
_SAMPLE = 1 << 16
#: Half the bracket, in standard deviations of the rank that a sample gives.
_DEVIATIONS = 5.0


def kth_lowest(arrays: Sequence[np.ndarray], k: int, without: Sequence[float] = ()) -> np.floating:
    """The k-th lowest of all scores, some of them left out.

    Args:
        arrays: scores, of any shapes, no NaN.
        k: from 1 to the number of scores less those left out.
        without: values that occur among the scores, each left out once.

    Returns:
        A score, of the arrays' common type.
    """
    flats = [array.ravel() for array in arrays]
    outside = np.sort(np.asarray(without, np.result_type(*flats)))
    if sum(flat.size for flat in flats) > 4 * _SAMPLE:
        low, high = _bracket(flats, k)
        up_to_low, between = _collect(flats, low, high)
        up_to_low -= np.searchsorted(outside, low, side="right")
        inside = outside[(outside > low) & (outside < high)]
        rank = k - up_to_low - 1
        if 0 <= rank < between.size - inside.size:
            return _ranked(between, inside, rank)
        # Scores that are equal can reach beyond the bracket from either end of it.
        for end in (low, high):
            below = _count(flats, end) - np.searchsorted(outside, end)
            equal = _count(flats, end, equal=True) - np.count_nonzero(outside == end)
            if below < k <= below + equal:
                return end
    return _ranked(np.concatenate(flats), outside, k - 1)


def counts(array: np.ndarray, cut: float | np.floating) -> tuple[int, int]:
    """How many scores lie below a value, and how many at it."""
    flat = array.ravel()
    return _count([flat], cut), _count([flat], cut, equal=True)


def _ranked(values: np.ndarray, without: np.ndarray, rank: int) -> np.floating:
    """The value at a rank (from 0), when each of `without`, ascending, is left out once."""
    if without.size:
        values = np.sort(values)
        repeats = np.arange(without.size) - np.searchsorted(without, without)
        return np.delete(values, np.searchsorted(values, without) + repeats)[rank]
    return np.partition(values, rank)[rank]


def _bracket(flats: Sequence[np.ndarray], k: int) -> tuple[np.floating, np.floating]:
    """Two scores of a random sample between which the k-th lowest of all most likely lies."""
    rng = np.random.default_rng(0)
    total = sum(flat.size for flat in flats)
    sample = np.sort(
        np.concatenate(
            [
                flat[rng.integers(0, flat.size, math.ceil(_SAMPLE * flat.size / total))]
                for flat in flats
                if flat.size
            ]
        )
    )
    share = k / total
    middle = share * sample.size
    reach = _DEVIATIONS * math.sqrt(sample.size * share * (1 - share)) + 2
    first = max(0, math.floor(middle - reach))
    last = min(sample.size - 1, math.ceil(middle + reach))
    return sample[first], sample[last]


def _collect(
    flats: Sequence[np.ndarray], low: np.floating, high: np.floating
) -> tuple[int, np.ndarray]:
    """How many scores are at most `low`, and those between `low` and `high`."""
    up_to_low, between = 0, []
    for block in _blocks(flats):
        above = block > low
        up_to_low += block.size - int(np.count_nonzero(above))
        above &= block < high
        between.append(block[above])
    return up_to_low, np.concatenate(between)


def _count(flats: Sequence[np.ndarray], value: float | np.floating, *, equal: bool = False) -> int:
    compare = np.equal if equal else np.less
    return sum(int(np.count_nonzero(compare(block, value))) for block in _blocks(flats))


def _blocks(flats: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for flat in flats:
        for start in range(0, flat.size, BLOCK):
            yield flat[start : start + BLOCK]
