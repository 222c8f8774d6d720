"""Image classification data sets by name: `digits`, or any of TensorFlow Datasets (TFDS).

Images stay uint8 from the file to the batch; whoever feeds a network scales them there.

`load` is the door. Behind it, `digits` makes the bundled data set, `tfds` decodes all
others and `cache` keeps what was decoded; all of them speak in the terms of `dataset`.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfprune.data.cache import through_cache
from tfprune.data.dataset import SPLIT_SEED, Dataset, Split
from tfprune.data.digits import scaled_digits
from tfprune.data.tfds import SUGGESTED
from tfprune.errors import UsageError

__all__ = ["SUGGESTED", "Dataset", "Split", "hold_out", "load"]

_NAME = re.compile(r"(?P<path>\w[\w.-]*(?:/[\w.-]+)*?)(?::(?P<version>\d+\.\d+\.\d+))?")


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    validation_fraction: float = 0.0,
    image_size: int | None = None,
) -> Dataset:
    """Loads a data set.

    Args:
        name: `digits`, or a TFDS name (`mnist`, `cifar10`, `name/config`, `name:1.2.3`) of
            a data set with the features `image` and `label` and the splits `train` and
            `test` (or else `validation`, which then serves as test).
        data_dir: where TFDS keeps its data; None leaves it to TFDS (`TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`).
        cache_dir: where decoded arrays are kept; None keeps none. `digits` needs none.
        validation_fraction: share f in [0, 1) of the N training images that is held out:
            floor(f N + 0.5) of them, drawn once and for all, independent of any seed.
        image_size: side in pixels to which images are resized (antialiased, to squares);
            None keeps the size they have.

    Raises:
        UsageError: unknown name, a data set that is no image classification set of one
            image size, or an argument out of range.
        TfpruneError: the data is not there and cannot be had, or cannot be read; or the
            cache cannot be written.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"dataset must look like name, name/config or name:1.2.3. Received: {name!r}"
        )
    if not 0 <= validation_fraction < 1:
        raise UsageError(f"validation_fraction must be in [0, 1). Received: {validation_fraction}")
    if image_size is not None and image_size < 1:
        raise UsageError(f"image_size must be at least 1 pixel. Received: {image_size}")
    if name == "digits":
        dataset = scaled_digits(28 if image_size is None else image_size)
    else:
        dataset = through_cache(
            name,
            match["path"],
            match["version"],
            None if data_dir is None else os.path.expanduser(data_dir),
            None if cache_dir is None else Path(cache_dir).expanduser(),
            image_size,
        )
    return hold_out(dataset, validation_fraction) if validation_fraction else dataset


def hold_out(dataset: Dataset, fraction: float) -> Dataset:
    """Moves a fixed random `fraction` of the training set to `validation`.

    Raises:
        UsageError: a part would be left without images.
    """
    n = len(dataset.train)
    held = int(np.floor(fraction * n + 0.5))
    if not 0 < held < n:
        raise UsageError(
            f"validation_fraction must leave images on both sides of {n} training images. "
            f"Received: {fraction}"
        )
    order = np.random.RandomState(SPLIT_SEED).permutation(n)
    # Sorted, so that both parts are read from a memory map from front to back.
    validation, train = np.sort(order[:held]), np.sort(order[held:])
    return replace(
        dataset, train=dataset.train.take(train), validation=dataset.train.take(validation)
    )
