"""What a data set is to the rest of the program: images, labels and how they are split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Seed of the fixed splits; RandomState's streams never change.
SPLIT_SEED = 20150606


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
