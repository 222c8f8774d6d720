"""TensorBoard summaries: one tag a layer and quantity, one event file an epoch.

The file's name is the epoch's number: TensorBoard reads files in the order of their names,
and an epoch that is run again after a kill replaces its file, so that no point stands twice.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.plugins.histogram.metadata import create_summary_metadata

from tfprune.atomic import atomic_path
from tfprune.backend import tf
from tfprune.figures import sparsity_of
from tfprune.pruning.prunable import LayerInfo, describe, prunables

_BUCKETS = 30  # of a histogram, as in TensorBoard's own


class TensorBoard:
    """Writes the summaries of one stage of training.

    Tags: `loss`, `accuracy/{train,test,validation}`, `learning_rate`, `images_per_second`,
    `sparsity/{group,model}`; for each pruned layer `layer_sparsity/NAME`,
    `layer_density/NAME`, `layer_threshold/NAME` (smallest kept |w|) and the histogram
    `kept_weights/NAME`; as text `layers` and what the caller gives.
    """

    def __init__(self, folder: Path, model: Any, texts: Mapping[str, str]) -> None:
        """Writes the texts.

        Args:
            folder: where the event files go; TensorBoard's `--logdir` is it or any above it.
            model: the model in training.
            texts: plain texts by tag, such as the flags.
        """
        self._folder = folder
        self._model = model
        with self._events(0):
            for tag, text in texts.items():
                tf.summary.text(tag, _as_code(text))
            tf.summary.text("layers", layer_table(describe(model)))

    def epoch(self, record: Mapping[str, Any], images: int) -> None:
        """Writes one epoch.

        Args:
            record: its row of the history (see `Trainer.run`).
            images: number of training images.
        """
        with self._events(record["epoch"]):
            tf.summary.scalar("loss", record["loss"])
            tf.summary.scalar("learning_rate", record["learning_rate"])
            tf.summary.scalar("images_per_second", images / record["seconds"])
            for key, value in record.items():
                if key.endswith("_accuracy") and value is not None:
                    tf.summary.scalar(f"accuracy/{key.removesuffix('_accuracy')}", value)
            self._layers()

    def _layers(self) -> None:
        layers = describe(self._model)
        pruned = [layer for layer in layers if layer.pruned]
        tf.summary.scalar("sparsity/group", sparsity_of(pruned))
        tf.summary.scalar("sparsity/model", sparsity_of(layers))
        for layer, prunable in zip(layers, prunables(self._model), strict=True):
            if not layer.pruned:
                continue
            tf.summary.scalar(f"layer_sparsity/{layer.name}", layer.sparsity)
            tf.summary.scalar(f"layer_density/{layer.name}", 1 - layer.sparsity)
            if layer.threshold is not None:
                tf.summary.scalar(f"layer_threshold/{layer.name}", layer.threshold)
            kernel = tf.convert_to_tensor(prunable.variable).numpy()
            _histogram(f"kept_weights/{layer.name}", kernel[kernel != 0])

    @contextlib.contextmanager
    def _events(self, step: int) -> Iterator[None]:
        """Within the block summaries go to the event file of a step, the epoch."""
        with tempfile.TemporaryDirectory() as scratch:
            writer = tf.summary.create_file_writer(scratch)
            with writer.as_default(step=step):
                yield
            writer.close()
            (written,) = Path(scratch).iterdir()
            with atomic_path(self._folder / f"events.out.tfevents.{step:05d}") as path:
                shutil.move(written, path)


def _histogram(tag: str, values: np.ndarray) -> None:
    """What `tf.summary.histogram` writes, which takes 240 bytes of memory a value.

    Of the finite values: that training diverged is for the next step's loss to say.
    """
    counts, edges = np.histogram(values[np.isfinite(values)].astype(np.float64), _BUCKETS)
    buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
    tf.summary.write(tag, buckets, metadata=create_summary_metadata(None, None))


def layer_table(layers: list[LayerInfo]) -> str:
    """A Markdown table of layers: name, kind, shape, kept of size, sparsity, threshold."""
    lines = ["| layer | kind | shape | kept / size | sparsity | threshold |", "|---" * 6 + "|"]
    for layer in layers:
        shape = " x ".join(map(str, layer.shape))
        threshold = "" if layer.threshold is None else f"{layer.threshold:.4g}"
        lines.append(
            f"| {layer.name} | {layer.kind} | {shape} | {layer.kept:,} / {layer.size:,} "
            f"| {layer.sparsity:.4f} | {threshold} |"
        )
    return "\n".join(lines)


def _as_code(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())
