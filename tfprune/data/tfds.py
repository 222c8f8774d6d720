"""All that talks to TensorFlow Datasets (TFDS), which is imported only to decode."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfprune.data.dataset import Dataset, Split
from tfprune.errors import TfpruneError, UsageError

#: Data sets to name in messages: bundled, and those of the published experiments.
SUGGESTED = ("digits", "mnist", "cifar10")

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_DECODE_BATCH = 1024
_DOWNLOAD_RETRIES = 2


def newest_prepared(path: str, data_dir: str | None) -> str | None:
    """The newest version of `path` that lies prepared where TFDS would look, or None."""
    # Where TFDS would look, found without its import.
    tfds_dir = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return newest(
        folder.name
        for folder in Path(tfds_dir).expanduser().glob(f"{path}/*")
        if (folder / "dataset_info.json").is_file()
    )


def newest(versions: Iterator[str]) -> str | None:
    """The highest of those that are versions, by number (1.10.0 over 1.9.0), or None."""
    numbered = [version for version in versions if _VERSION.fullmatch(version)]
    return max(numbered, key=lambda version: [int(n) for n in version.split(".")], default=None)


def from_tfds(
    name: str, path: str, version: str | None, data_dir: str | None, image_size: int | None
) -> Dataset:
    """Decodes a data set; downloads and prepares it first if it is not there.

    Args:
        name: as it was asked for.
        path: `name` without its version.
        version: such as "3.0.1"; None leaves it to TFDS.
        data_dir: where TFDS keeps its data; None leaves it to TFDS.
        image_size: side in pixels to which images are resized; None keeps their size.

    Raises:
        UsageError: unknown name, or no image classification set of one image size.
        TfpruneError: the data is not there and cannot be had, or cannot be read.
    """
    import tensorflow_datasets as tfds

    builder = _builder(tfds, f"{path}:{version}" if version else path, name, data_dir)
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


def _builder(tfds: Any, tfds_name: str, name: str, data_dir: str | None) -> Any:
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
            f"TensorFlow Datasets refuses this name: {first_line(error)}. Received: {name!r}"
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
        f"{name} is not in {where} and could not be prepared ({first_line(error)}): run "
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
            f"the {split} split of {name} cannot be read ({first_line(error)}); delete it and "
            f"prepare it again. Received: {builder.data_dir}"
        ) from error
    if start != n or not n or labels.min() < 0 or labels.max() >= classes:
        raise TfpruneError(
            f"the {split} split of {name} must have {n} labelled images, labels 0 to "
            f"{classes - 1}. Received: {start} images, labels {np.unique(labels[:start])[:3]}..."
        )
    return Split(images, labels)


def first_line(error: BaseException) -> str:
    """An error's message, cut to what fits in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 160 else lines[0][:157] + "..."
