"""Image classification data sets by name: `digits`, or any of TensorFlow Datasets (TFDS).

Images stay uint8 from the file to the batch; whoever feeds a network scales them there.

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

import contextlib
import difflib
import io
import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import logging

from tfprune.errors import TfpruneError, UsageError

#: Data sets to name in messages: bundled, and those of the published experiments.
SUGGESTED = ("digits", "mnist", "cifar10")

_NAME = re.compile(r"(?P<path>\w[\w.-]*(?:/[\w.-]+)*?)(?::(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CACHE_FORMAT = 1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_DECODE_BATCH = 1024
_DOWNLOAD_RETRIES = 2
_DIGITS_SIDE = 8
_SPLIT_SEED = 20150606  # of the fixed splits; RandomState's streams never change


@dataclass(frozen=True)
class Split:
    """Images and their labels, in a fixed order.

    Attributes:
        images: uint8 (N, H, W, C), 0 to 255; may be a read-only memory map.
        labels: int32 (N,), 0 to classes - 1.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.intp]) -> Split:
        """The examples at `indices`, copied."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A data set in memory or mapped into it.

    Attributes:
        name: as it was asked for.
        classes: number of classes.
        train: what networks are trained on.
        test: what accuracies are reported on.
        validation: part of the training set held out for tuning, or None.
        version: version of the data, such as "3.0.1".
    """

    name: str
    classes: int
    train: Split
    test: Split
    validation: Split | None = None
    version: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


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
        dataset = _digits(28 if image_size is None else image_size)
    else:
        dataset = _through_cache(
            name,
            match["path"],
            match["version"],
            None if data_dir is None else os.path.expanduser(data_dir),
            None if cache_dir is None else Path(cache_dir).expanduser(),
            image_size,
        )
    return _hold_out(dataset, validation_fraction) if validation_fraction else dataset


def _hold_out(dataset: Dataset, fraction: float) -> Dataset:
    """Moves a fixed random `fraction` of the training set to `validation`."""
    n = len(dataset.train)
    held = int(np.floor(fraction * n + 0.5))
    if not 0 < held < n:
        raise UsageError(
            f"validation_fraction must leave images on both sides of {n} training images. "
            f"Received: {fraction}"
        )
    order = np.random.RandomState(_SPLIT_SEED).permutation(n)
    # Sorted, so that both parts are read from a memory map from front to back.
    validation, train = np.sort(order[:held]), np.sort(order[held:])
    return replace(
        dataset, train=dataset.train.take(train), validation=dataset.train.take(validation)
    )


# --- digits ---------------------------------------------------------------------------------


def _digits(side: int) -> Dataset:
    """scikit-learn's 1797 handwritten digits, scaled from 8x8 to `side` pixels.

    They are the test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin
    and Kaynak 1998), whose training part is not bundled. Test split: of each class with n
    images, floor(n / 5 + 0.5) drawn by one fixed permutation; 359 in all, 1438 remain.
    """
    if side < _DIGITS_SIDE:
        raise UsageError(
            f"digits have {_DIGITS_SIDE}x{_DIGITS_SIDE} pixels, image_size must be at least "
            f"that. Received: {side}"
        )
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int32)
    digits = Split(_upscale(bunch.images.astype(np.int64), side)[..., np.newaxis], labels)
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(digits))
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
    centre = _DIGITS_SIDE * (2 * np.arange(side) + 1) - side  # source coordinate * unit
    left, right_weight = np.divmod(centre, unit)
    weights = np.zeros((side, _DIGITS_SIDE), np.int64)
    rows, last = np.arange(side), _DIGITS_SIDE - 1
    np.add.at(weights, (rows, np.clip(left, 0, last)), unit - right_weight)
    np.add.at(weights, (rows, np.clip(left + 1, 0, last)), right_weight)
    sums = weights @ images @ weights.T  # (N, side, side), 0 .. 16 unit^2
    full = 16 * unit * unit
    return ((2 * 255 * sums + full) // (2 * full)).astype(np.uint8)


# --- cache ----------------------------------------------------------------------------------


def _through_cache(
    name: str,
    path: str,
    version: str | None,
    data_dir: str | None,
    cache_dir: Path | None,
    image_size: int | None,
) -> Dataset:
    """The data set from the cache, or decoded and then cached."""
    # Where TFDS would look, found without its import.
    tfds_dir = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    version = version or _newest(
        folder.name
        for folder in Path(tfds_dir).expanduser().glob(f"{path}/*")
        if (folder / "dataset_info.json").is_file()
    )
    stem = path.replace("/", "+")
    size = "native" if image_size is None else str(image_size)
    if cache_dir is not None:
        cached = version or _newest(
            folder.name[len(stem) + 1 : -len(size) - 1]
            for folder in cache_dir.glob(f"{stem}-*-{size}")
        )
        hit = cached and _read_cache(cache_dir / f"{stem}-{cached}-{size}", name)
        if hit:
            return hit
    dataset = _from_tfds(name, path, version, data_dir, image_size)
    if cache_dir is not None:
        _write_cache(cache_dir / f"{stem}-{dataset.version}-{size}", dataset)
    return dataset


def _newest(versions: Iterator[str]) -> str | None:
    numbered = [version for version in versions if _VERSION.fullmatch(version)]
    return max(numbered, key=lambda version: [int(n) for n in version.split(".")], default=None)


def _read_cache(folder: Path, name: str) -> Dataset | None:
    """The data set in `folder`, memory-mapped; None if there is none or it is damaged."""
    meta_path = folder / "meta.json"
    if not meta_path.is_file():
        return None
    try:
        meta = json.loads(meta_path.read_text())
        if meta["format"] != _CACHE_FORMAT:
            return None
        arrays = [np.load(folder / f"{key}.npy", mmap_mode="r") for key in _ARRAYS]
        if [_checksum(array) for array in arrays] != [meta["crc32"][key] for key in _ARRAYS]:
            raise ValueError("checksums differ")
        train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
        return Dataset(name, meta["classes"], train, test, version=meta["version"])
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        logging.warning("%s is damaged (%s) and is rebuilt", folder, _first_line(error))
        return None


def _write_cache(folder: Path, dataset: Dataset) -> None:
    train, test = dataset.train, dataset.test
    arrays: dict[str, npt.NDArray[Any]] = {
        "train_images": train.images,
        "train_labels": train.labels,
        "test_images": test.images,
        "test_labels": test.labels,
    }
    meta = {
        "format": _CACHE_FORMAT,
        "version": dataset.version,
        "classes": dataset.classes,
        "crc32": {key: _checksum(array) for key, array in arrays.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for key, array in arrays.items():
            with _renamed_into(folder / f"{key}.npy") as file:
                np.save(file, array)
        with _renamed_into(folder / "meta.json") as file:
            file.write(json.dumps(meta, indent=1).encode())
    except OSError as error:
        raise TfpruneError(
            f"cannot write the data cache: {_first_line(error)}; make room, or choose another "
            f"cache_dir or none. Received: cache_dir={folder.parent}"
        ) from error


def _checksum(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(array.data.cast("B"))


@contextlib.contextmanager
def _renamed_into(path: Path) -> Iterator[Any]:
    """A binary file that becomes `path` if all of it could be written, else vanishes."""
    # Not `tempfile`: its files are for their owner alone, a cache may be shared.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


# --- TFDS -----------------------------------------------------------------------------------


def _from_tfds(
    name: str, path: str, version: str | None, data_dir: str | None, image_size: int | None
) -> Dataset:
    import tensorflow_datasets as tfds

    builder = _tfds_builder(tfds, f"{path}:{version}" if version else path, name, data_dir)
    shape, classes = _image_classification(tfds, builder, name, image_size)
    _download(tfds, builder, name)
    splits = builder.info.splits
    test = "test" if "test" in splits else "validation"
    if "train" not in splits or test not in splits:
        raise UsageError(
            f"a data set needs the splits train and test (or validation); {name} has "
            f"{', '.join(sorted(splits)) or 'none'}. Received: dataset={name!r}"
        )
    return Dataset(
        name,
        classes,
        _decode(builder, name, "train", shape, classes, image_size),
        _decode(builder, name, test, shape, classes, image_size),
        version=str(builder.version),
    )


def _tfds_builder(tfds: Any, tfds_name: str, name: str, data_dir: str | None) -> Any:
    try:
        return tfds.builder(tfds_name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name, known)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise UsageError(
            f"dataset must be one of {', '.join(SUGGESTED)} or an image classification set of "
            f"TensorFlow Datasets{hint}. Received: {name!r}"
        ) from error
    except (ValueError, AssertionError) as error:  # no such configuration or version
        raise UsageError(
            f"TensorFlow Datasets refuses this name: {_first_line(error)}. Received: {name!r}"
        ) from error
    except (ImportError, OSError) as error:
        raise _unavailable(name, data_dir=data_dir, error=error) from error


def _image_classification(
    tfds: Any, builder: Any, name: str, image_size: int | None
) -> tuple[tuple[int, int, int], int]:
    """Shape of the decoded images and number of classes, or a UsageError."""
    features = builder.info.features
    keys = sorted(features) if isinstance(features, tfds.features.FeaturesDict) else []
    image = features["image"] if "image" in keys else None
    label = features["label"] if "label" in keys else None
    if (
        not isinstance(image, tfds.features.Image)
        or image.np_dtype != np.uint8
        or image.shape[-1] is None
        or not isinstance(label, tfds.features.ClassLabel)
        or not label.num_classes
    ):
        raise UsageError(
            "an image classification set has an 8-bit `image` and a class `label`; the "
            f"features of {name} are {', '.join(keys) or 'others'}. Received: dataset={name!r}"
        )
    height, width, channels = image.shape
    if image_size is not None:
        height = width = image_size
    if height is None or width is None:
        raise UsageError(
            f"the images of {name} differ in size; choose one for all with image_size. "
            "Received: image_size=None"
        )
    return (height, width, channels), label.num_classes


def _download(tfds: Any, builder: Any, name: str) -> None:
    """Prepares the data if it is not; quiet, and quick to give up without a network."""
    if builder.info.initialized:
        return
    from tensorflow_datasets.core.download import downloader

    logging.warning("%s is not in %s: downloading it", name, builder.data_dir)
    # TFDS would try ten times with growing pauses, more than three minutes in all, and print
    # each of them. Its download threads outlive a failure, so this stays for the process.
    downloader.MAX_RETRIES = _DOWNLOAD_RETRIES
    logging.logging.getLogger("urllib3").setLevel(logging.logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except Exception as error:  # whatever a data set's own code raises, the data is not there
        raise _unavailable(name, data_dir=builder.data_dir, error=error) from error


def _unavailable(name: str, *, data_dir: Any, error: Exception) -> TfpruneError:
    where = data_dir or "the data directory"
    return TfpruneError(
        f"{name} is not in {where} and could not be prepared ({_first_line(error)}): run "
        "once on a machine with a network, then point TFDS_DATA_DIR or --data_dir to its data; "
        f"--dataset=digits needs neither. Received: dataset={name!r}"
    )


def _decode(
    builder: Any,
    name: str,
    split: str,
    shape: tuple[int, int, int],
    classes: int,
    image_size: int | None,
) -> Split:
    """Decodes one split, batch by batch, into arrays of their final size and type."""
    from tfprune.backend import tf

    def resized(example: dict[str, Any]) -> tuple[Any, Any]:
        image = example["image"]
        if image_size is not None:
            pixels = tf.image.resize(image, shape[:2], antialias=True)
            image = tf.saturate_cast(tf.round(pixels), tf.uint8)
        return image, example["label"]

    n = builder.info.splits[split].num_examples
    images, labels = np.empty((n, *shape), np.uint8), np.empty(n, np.int32)
    start = 0
    try:
        examples = builder.as_dataset(split=split, shuffle_files=False)
        batches = examples.map(resized, num_parallel_calls=tf.data.AUTOTUNE).batch(_DECODE_BATCH)
        for batch_images, batch_labels in batches.as_numpy_iterator():
            stop = start + len(batch_labels)
            images[start:stop], labels[start:stop] = batch_images, batch_labels
            start = stop
    except (tf.errors.OpError, OSError, ValueError, AssertionError) as error:
        raise TfpruneError(
            f"the {split} split of {name} cannot be read ({_first_line(error)}); delete it and "
            f"prepare it again. Received: {builder.data_dir}"
        ) from error
    if start != n or not n or labels.min() < 0 or labels.max() >= classes:
        raise TfpruneError(
            f"the {split} split of {name} must have {n} labelled images, labels 0 to "
            f"{classes - 1}. Received: {start} images, labels {np.unique(labels[:start])[:3]}..."
        )
    return Split(images, labels)


def _first_line(error: BaseException) -> str:
    """An error's message, cut to what fits in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 160 else lines[0][:157] + "..."
