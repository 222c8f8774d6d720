"""The data set `digits`: small, bundled with scikit-learn, the same bytes everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfprune.data.dataset import SPLIT_SEED, Dataset, Split
from tfprune.errors import UsageError

_SIDE = 8  # pixels of the bundled images


def scaled_digits(side: int) -> Dataset:
    """scikit-learn's 1797 handwritten digits, scaled from 8x8 to `side` pixels.

    They are the test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin
    and Kaynak 1998), whose training part is not bundled. Test split: of each class with n
    images, floor(n / 5 + 0.5) drawn by one fixed permutation; 359 in all, 1438 remain.

    Raises:
        UsageError: `side` is smaller than the 8 pixels there are.
    """
    if side < _SIDE:
        raise UsageError(
            f"digits have {_SIDE}x{_SIDE} pixels, image_size must be at least "
            f"that. Received: {side}"
        )
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int32)
    digits = Split(_upscale(bunch.images.astype(np.int64), side)[..., np.newaxis], labels)
    order = np.random.RandomState(SPLIT_SEED).permutation(len(digits))
    in_test = np.zeros(len(digits), bool)
    for label in range(10):
        members = order[labels[order] == label]
        in_test[members[: (2 * len(members) + 5) // 10]] = True
    train, test = digits.take(np.flatnonzero(~in_test)), digits.take(np.flatnonzero(in_test))
    return Dataset("digits", 10, train, test, version="1.0.0")


def _upscale(images: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.uint8]:
    """Bilinear interpolation of (N, 8, 8), 0..16, to uint8 (N, side, side), 0..255.

    Pixel centres are at half pixels and edges repeat. In integers throughout (weights in
    units of 1 / (2 side)), so that every machine gets the same bytes.
    """
    unit = 2 * side
    centre = _SIDE * (2 * np.arange(side) + 1) - side  # source coordinate * unit
    left, right_weight = np.divmod(centre, unit)
    weights = np.zeros((side, _SIDE), np.int64)
    rows, last = np.arange(side), _SIDE - 1
    np.add.at(weights, (rows, np.clip(left, 0, last)), unit - right_weight)
    np.add.at(weights, (rows, np.clip(left + 1, 0, last)), right_weight)
    sums = weights @ images @ weights.T  # (N, side, side), 0 .. 16 unit^2
    full = 16 * unit * unit
    return ((2 * 255 * sums + full) // (2 * full)).astype(np.uint8)
