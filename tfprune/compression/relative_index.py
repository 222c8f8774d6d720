"""Positions as gaps of a few bits, with padding zeros where a gap overflows.

Deep Compression (Han et al. 2016, section 2 and figure 2), which counts positions from 1:
kept at 1, 4 and 15 with 3-bit gaps are the gaps 1, 3, 8, 3, the 8 leading to a padding zero.
"""

from __future__ import annotations

import numpy as np


def to_gaps(positions: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaps between neighbours; one longer than 2^bits passes over padding zeros.

    Args:
        positions: (kept,) ascending, counted from 0.
        bits: of a gap.

    Returns:
        gaps: (entries,) int64 from 1 to 2^bits, `gap - 1` being what is stored; the first one
            counts from before the first weight.
        is_kept: (entries,) bool, False for a padding zero.
    """
    longest = 1 << bits
    distances = np.diff(positions, prepend=-1)
    padding = (distances - 1) // longest  # zeros before each kept weight
    ends = np.cumsum(padding + 1) - 1  # where the kept weights are among the entries
    gaps = np.full(int(ends[-1]) + 1 if len(ends) else 0, longest, np.int64)
    gaps[ends] = distances - padding * longest
    is_kept = np.zeros(len(gaps), bool)
    is_kept[ends] = True
    return gaps, is_kept


def from_gaps(gaps: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """The inverse of `to_gaps`: (kept,) int64 positions, counted from 0."""
    return (np.cumsum(gaps, dtype=np.int64) - 1)[is_kept]
