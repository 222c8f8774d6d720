"""`ramps`, a TFDS data set that tests prepare themselves: each image tells its index."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

GREY = (6, 6, 1)


def ramp(index: int, shape: tuple[int, int, int] = GREY) -> np.ndarray:
    """An image that tells its index: 10 * index + column."""
    return np.broadcast_to(10 * index + np.arange(shape[1])[:, None], shape).astype(np.uint8)


def prepare(
    data_dir: Path,
    *,
    version: str = "1.0.0",
    features: dict | None = None,
    splits: dict[str, int] | None = None,
    example=lambda i: {"image": ramp(i), "label": i % 3},
) -> None:
    """Prepares the TFDS data set `ramps`; `splits` gives the number of examples of each."""
    features = features or {
        "image": tfds.features.Image(shape=GREY),
        "label": tfds.features.ClassLabel(num_classes=3),
    }
    splits = {"train": 9, "test": 4} if splits is None else splits

    class Ramps(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(n) for split, n in splits.items()}

        def _generate_examples(self, n):
            for i in range(n):
                yield i, example(i)

    tfds.disable_progress_bar()
    Ramps(data_dir=data_dir).download_and_prepare()
