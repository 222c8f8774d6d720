"""Decoded TFDS data sets, kept in files that later runs map into memory.

**Cache.** A TFDS data set is decoded once into `cache_dir`, one folder for each name, version
and image size, as uncompressed .npy files that later runs map into memory without
importing TFDS. Each file is renamed into place whole and `meta.json`, which holds their
checksums, comes last: a killed or a second process leaves nothing that is taken for good,
and a folder that does not agree with its checksums is rebuilt.

**Versions.** A name may carry its version (`mnist:3.0.1`). Without one, the newest version
prepared under the data directory counts, and the cache must hold that very version; so a
version that was prepared later is seen. If the data directory holds none (only the cache
was copied to this machine, or the name leaves a configuration to TFDS), the newest cached
version counts, and failing that the one TFDS would download.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging

from tfprune.atomic import atomic_path, write_text
from tfprune.data.dataset import Dataset, Split
from tfprune.data.tfds import first_line, from_tfds, newest, newest_prepared
from tfprune.errors import TfpruneError

_FORMAT = 1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def through_cache(
    name: str,
    path: str,
    version: str | None,
    data_dir: str | None,
    cache_dir: Path | None,
    image_size: int | None,
) -> Dataset:
    """The data set from the cache, or decoded and then cached.

    Args:
        name: as it was asked for.
        path: `name` without its version.
        version: such as "3.0.1"; None is the newest (see above).
        data_dir: where TFDS keeps its data; None leaves it to TFDS.
        cache_dir: where decoded arrays are kept; None keeps none.
        image_size: side in pixels to which images are resized; None keeps their size.

    Raises:
        UsageError, TfpruneError: as `from_tfds`; or the cache cannot be written.
    """
    version = version or newest_prepared(path, data_dir)
    stem = path.replace("/", "+")
    size = "native" if image_size is None else str(image_size)
    if cache_dir is not None:
        cached = version or newest(
            folder.name[len(stem) + 1 : -len(size) - 1]
            for folder in cache_dir.glob(f"{stem}-*-{size}")
        )
        hit = cached and _read(cache_dir / f"{stem}-{cached}-{size}", name)
        if hit:
            return hit
    dataset = from_tfds(name, path, version, data_dir, image_size)
    if cache_dir is not None:
        _write(cache_dir / f"{stem}-{dataset.version}-{size}", dataset)
    return dataset


def _read(folder: Path, name: str) -> Dataset | None:
    """The data set in `folder`, memory-mapped; None if there is none or it is damaged."""
    meta_path = folder / "meta.json"
    if not meta_path.is_file():
        return None
    try:
        meta = json.loads(meta_path.read_text())
        if meta["format"] != _FORMAT:
            return None
        arrays = [np.load(folder / f"{key}.npy", mmap_mode="r") for key in _ARRAYS]
        if [_checksum(array) for array in arrays] != [meta["crc32"][key] for key in _ARRAYS]:
            raise ValueError("checksums differ")
        train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
        return Dataset(name, meta["classes"], train, test, version=meta["version"])
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        logging.warning("%s is damaged (%s) and is rebuilt", folder, first_line(error))
        return None


def _write(folder: Path, dataset: Dataset) -> None:
    train, test = dataset.train, dataset.test
    arrays: dict[str, npt.NDArray[Any]] = {
        "train_images": train.images,
        "train_labels": train.labels,
        "test_images": test.images,
        "test_labels": test.labels,
    }
    meta = {
        "format": _FORMAT,
        "version": dataset.version,
        "classes": dataset.classes,
        "crc32": {key: _checksum(array) for key, array in arrays.items()},
    }
    try:
        for key, array in arrays.items():
            with atomic_path(folder / f"{key}.npy") as path:
                np.save(path, array)
        write_text(folder / "meta.json", json.dumps(meta, indent=1))
    except TfpruneError as error:
        raise TfpruneError(
            f"{error}; the data cache needs room, another cache_dir or none. "
            f"Received: cache_dir={folder.parent}"
        ) from error


def _checksum(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(array.data.cast("B"))
