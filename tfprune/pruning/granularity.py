"""Granularity: what is removed as a whole: single weights, filters, blocks, N of every M.

NumPy only. A unit (a filter, a block) has one score, the mean of its weights' scores: with
the criterion `magnitude` its L1 norm over its size, so that units of different size meet
under one threshold on the same scale.
"""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

from tfprune.errors import UsageError

#: What a user can ask for.
CHOICES = "weight, filter, blockRxC (as block1x4, or (1, 4)), N:M (as 2:4)"


@dataclasses.dataclass(frozen=True)
class Granularity:
    """What goes as a whole.

    Attributes:
        kind: "weight", "filter", "block" or "n:m".
        sizes: rows and columns of a block, or N and M.
    """

    kind: str
    sizes: tuple[int, int] = (1, 1)

    @property
    def implied_sparsity(self) -> float | None:
        """1 - N / M; None where a target decides."""
        return 1 - self.sizes[0] / self.sizes[1] if self.kind == "n:m" else None


def parse_granularity(text: str | tuple[int, int]) -> Granularity:
    """Reads "weight", "filter", "block1x4" (or the tuple (1, 4)), or "2:4".

    Raises:
        UsageError: anything else, a block without weights, an N that is not in [1, M).
    """
    if text in ("weight", "filter"):
        return Granularity(str(text))
    if isinstance(text, tuple | list) and len(text) == 2 and all(type(n) is int for n in text):
        text = f"block{text[0]}x{text[1]}"
    match = re.fullmatch(r"block(\d{1,6})x(\d{1,6})|(\d{1,6}):(\d{1,6})", str(text))
    if match:
        rows, columns, n, m = (int(group or 0) for group in match.groups())
        if rows and columns:
            return Granularity("block", (rows, columns))
        if 0 < n < m:
            return Granularity("n:m", (n, m))
    raise UsageError(f"granularity must be one of {CHOICES}, with 0 < N < M. Received: {text!r}")


class Units:
    """The units of one kernel: how weights make units, and units weights again.

    Args:
        granularity: of kind "filter" or "block".
        shape: that of the kernel.
        unit_axes: the axes along which its filters (channels, neurons) lie.
        name: the layer, for messages.

    A *filter* is all weights at one position along `unit_axes`. A *block* of R x C lies in
    the last two axes of the kernel as Keras stores it: R neighbours along the inputs, C along
    the outputs (the other way round in a transposed convolution), at one pixel of a
    convolution. Blocks start at index 0; where an axis is no multiple, the last ones are
    smaller, and count as units like the others.

    Raises:
        UsageError: a kernel that has no such units.
    """

    def __init__(
        self,
        granularity: Granularity,
        shape: tuple[int, ...],
        unit_axes: tuple[int, ...] | None,
        name: str,
    ) -> None:
        self.shape = shape
        if granularity.kind == "filter":
            if unit_axes is None:
                raise UsageError(
                    f"granularity 'filter' needs a layer whose units can be told from its kernel "
                    f"(Dense, Conv and their kin). Received: layer {name!r}"
                )
            ours = {axis % len(shape) for axis in unit_axes}
            # A unit spans an axis whole, or lies at one index of it.
            self._steps = tuple(1 if a in ours else n for a, n in enumerate(shape))
        else:
            if len(shape) < 2:
                raise UsageError(
                    f"blocks need a kernel of two or more axes. Received: layer {name!r} of "
                    f"shape {shape}"
                )
            self._steps = (1,) * (len(shape) - 2) + granularity.sizes

    @property
    def size(self) -> int:
        """How many units there are."""
        steps = zip(self.shape, self._steps, strict=True)
        return math.prod(math.ceil(size / step) for size, step in steps)

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """The sum over each unit, float64; one axis for each of the kernel's."""
        for axis, (step, size) in enumerate(zip(self._steps, self.shape, strict=True)):
            if step >= size:
                weights = weights.sum(axis=axis, keepdims=True, dtype=np.float64)
            elif step > 1:
                starts = np.arange(0, size, step)
                weights = np.add.reduceat(weights, starts, axis=axis, dtype=np.float64)
        return np.asarray(weights, dtype=np.float64)

    def weights_in(self, mask: np.ndarray | None) -> np.ndarray:
        """How many weights each unit has left, int64; all of them without a mask."""
        mask = np.broadcast_to(True, self.shape) if mask is None else mask
        return self.sums(mask).astype(np.int64)

    def scores(self, scores: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """The units' scores, float32: the mean of their weights'.

        A removed weight counts as 0; a unit that has none left scores -inf.
        """
        whole = self.weights_in(None)
        if mask is None:
            return (self.sums(scores) / whole).astype(np.float32)
        means = (self.sums(np.where(mask, scores, 0)) / whole).astype(np.float32)
        return np.where(self.weights_in(mask) > 0, means, -np.inf).astype(np.float32)

    def spread(self, units: np.ndarray) -> np.ndarray:
        """A flag a unit to a flag a weight, bool, of the kernel's shape."""
        for axis, (step, size) in enumerate(zip(self._steps, self.shape, strict=True)):
            if step > 1:
                units = np.repeat(units, step, axis=axis).take(range(size), axis=axis)
        return units


def keep_n_of_m(scores: np.ndarray, n: int, m: int, axis: int) -> np.ndarray:
    """The mask that keeps the n highest of every m neighbours along an axis.

    Runs start at index 0; a last one of r < m weights keeps min(n, r). Ties: the lowest
    index goes first.

    Args:
        scores: any shape; -inf marks what is removed already and stays so.
        n: in [1, m).
        m: length of a run.
        axis: the one along which the runs lie, that of the inputs.

    Returns:
        bool array of the same shape, True = kept.
    """
    moved = np.moveaxis(scores, axis, -1)
    runs = math.ceil(moved.shape[-1] / m)
    padding = [(0, 0)] * (moved.ndim - 1) + [(0, runs * m - moved.shape[-1])]
    padded = np.pad(moved, padding, constant_values=-np.inf).reshape(*moved.shape[:-1], runs, m)
    order = np.argsort(padded, axis=-1, kind="stable")
    kept = np.zeros(padded.shape, bool)
    np.put_along_axis(kept, order[..., m - n :], True, axis=-1)
    flat = kept.reshape(*moved.shape[:-1], runs * m)[..., : moved.shape[-1]]
    return np.moveaxis(flat, -1, axis) & ~np.isneginf(scores)


def input_axis(shape: tuple[int, ...], unit_axes: tuple[int, ...] | None) -> int:
    """The axis of a kernel along which its inputs lie: the last that is not its units'.

    Where the units are not known (a custom layer), kernels are (..., in, out).
    """
    ours = {-1 % len(shape)} if unit_axes is None else {a % len(shape) for a in unit_axes}
    return max((a for a in range(len(shape)) if a not in ours), default=0)
