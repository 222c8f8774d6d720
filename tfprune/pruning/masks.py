"""Masks: scores and a count give exactly that many removed weights. NumPy only.

A mask is a bool array of the shape of its weights: True = kept, False = removed.
"""

from __future__ import annotations

import math
import numbers
import os
import zipfile
from collections.abc import Mapping

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.errors import DAMAGED, TfpruneError, UsageError
from tfprune.pruning.selection import BLOCK, kth_lowest


def removed_count(size: int, sparsity: float) -> int:
    """How many of `size` weights go at `sparsity`: n = floor(s N + 0.5).

    The one place that decides counts. Halves round up: 5 weights at 0.5 lose 3.

    Args:
        size: N, number of weights, >= 0.
        sparsity: s, fraction removed, in [0, 1).

    Raises:
        UsageError: the sparsity is not a number in [0, 1).
    """
    if (
        not isinstance(sparsity, numbers.Real)
        or isinstance(sparsity, bool)
        or not 0 <= sparsity < 1
    ):
        raise UsageError(
            "sparsity must be a number in [0, 1), the fraction of weights removed. "
            f"Received: {sparsity!r}"
        )
    return math.floor(float(sparsity) * size + 0.5)


def refuse_nan(scores: np.ndarray, what: str) -> None:
    """Raises a `TfpruneError` that names `what` where a score is NaN."""
    # min() passes NaN on, without an array of flags as large as the layer.
    if scores.size and np.isnan(scores.min()):
        raise TfpruneError(
            f"{what} cannot be ranked: {int(np.isnan(scores).sum())} of {scores.size} scores are "
            "NaN (did the training diverge?)"
        )


def keep_largest(scores: np.ndarray, remove: int, cut: float | None = None) -> np.ndarray:
    """The mask that removes exactly the `remove` lowest scores.

    Ties: the lowest flat index goes first. O(N): a selection, not a sort.

    Args:
        scores: any shape, N elements; -inf goes first.
        remove: in [0, N].
        cut: the `remove`-th lowest score where it may be known; where it is not the right
            one, which is checked, it is looked for.

    Returns:
        bool array of the same shape, True = kept.

    Raises:
        TfpruneError: a score is NaN.
        UsageError: `remove` is out of range.
    """
    scores = np.asarray(scores)
    if not 0 <= remove <= scores.size:
        raise UsageError(f"remove must lie in [0, {scores.size}]. Received: {remove!r}")
    refuse_nan(scores, "these weights")
    if remove == 0:
        return np.ones(scores.shape, dtype=bool)
    flat = scores.ravel()
    kept, tied = np.empty(flat.size, bool), np.empty(0, np.int64)
    for guess in (cut, None):
        if guess is not None and math.isinf(guess):
            continue
        tied = _split(flat, kth_lowest([flat], remove) if guess is None else guess, kept)
        tied_and_removed = remove - (flat.size - np.count_nonzero(kept) - tied.size)
        if 0 < tied_and_removed <= tied.size:
            break
    kept[tied[tied_and_removed:]] = True
    return kept.reshape(scores.shape)


def _split(flat: np.ndarray, cut: float | np.floating, kept: np.ndarray) -> np.ndarray:
    """Sets `kept` where a score is above the cut; gives the indices of those at it."""
    tied = []
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        np.greater(block, cut, out=kept[start : start + BLOCK])
        tied.append(np.flatnonzero(block == cut) + start)
    return np.concatenate(tied)


def unit_mask(mask: np.ndarray, axes: int | tuple[int, ...]) -> np.ndarray:
    """Which units (filters, channels, neurons) still have a weight.

    Args:
        mask: the mask of a kernel.
        axes: the axis, or axes, along which the units lie: -1 for a dense or convolution
            kernel (..., in, out), -2 for a transposed one (..., out, in).

    Returns:
        bool array with one axis for each of `axes`, in the order given; False = dead.
    """
    wanted = tuple(a % mask.ndim for a in ((axes,) if isinstance(axes, int) else axes))
    others = tuple(a for a in range(mask.ndim) if a not in wanted)
    alive = np.asarray(mask.any(axis=others))
    return alive.transpose([sorted(wanted).index(a) for a in wanted])


def save_masks(path: str | os.PathLike[str], masks: Mapping[str, np.ndarray]) -> None:
    """Writes masks to an .npz file, whole or not at all.

    Each is stored as its packed bits (`<key>:bits`) and its shape (`<key>:shape`).

    Args:
        path: the file; `masks.npz` in a run folder.
        masks: key such as "conv1/kernel" -> bool array.

    Raises:
        TfpruneError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    for key, mask in masks.items():
        arrays[f"{key}:bits"] = np.packbits(np.asarray(mask, dtype=bool))
        arrays[f"{key}:shape"] = np.array(np.shape(mask), dtype=np.int64)
    with atomic_path(os.fspath(path)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_masks(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads what `save_masks` wrote, in the same order.

    Raises:
        TfpruneError: the file is missing, damaged, or no file of masks.
    """
    masks = {}
    try:
        if os.path.isfile(path) and not zipfile.is_zipfile(path):  # NumPy would think of pickles
            raise ValueError("it is no zip archive, or truncated")
        with np.load(path, allow_pickle=False) as file:
            for bits in (name for name in file.files if name.endswith(":bits")):
                key = bits.removesuffix(":bits")
                shape = tuple(file[f"{key}:shape"])
                flat = np.unpackbits(file[bits], count=math.prod(shape))
                masks[key] = flat.astype(bool).reshape(shape)
            unknown = len(file.files) - 2 * len(masks)
    except FileNotFoundError as error:
        raise TfpruneError(f"there is no file of masks at {os.fspath(path)!r}") from error
    except DAMAGED as error:
        raise TfpruneError(_damaged(path, error)) from error
    if unknown:
        raise TfpruneError(_damaged(path, f"{unknown} arrays in it are not masks"))
    return masks


def _damaged(path: str | os.PathLike[str], cause: object) -> str:
    return f"{os.fspath(path)!r} is not a whole file of masks (masks.npz): {cause}"
