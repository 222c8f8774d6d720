"""Prunes a network of Keras Applications, from the dense model to the exported file.

    python tools/prune_application.py [--network MobileNetV2] [--sparsity 0.8] [--out FOLDER]

The network is built without downloaded weights and trained for a few steps on random images:
this shows the way, on a graph with dozens of layers, and no accuracy. It prints the layer
table and the audit at each stage, and takes about a minute. `TF_USE_LEGACY_KERAS=1` runs it
on tf_keras.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfprune
from tfprune.export.audit import require_ok
from tfprune.pruning.prunable import describe
from tfprune.pruning.pruner import get_masks

#: Name -> side of the image, small enough for a CPU.
NETWORKS = {"MobileNetV2": 32, "ResNet50": 32, "DenseNet121": 32, "EfficientNetB0": 32}
CLASSES, IMAGES, BATCH = 10, 64, 16


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="MobileNetV2")
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--out", type=Path, default=Path("application"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(0)
    side = NETWORKS[options.network]
    rng = np.random.default_rng(0)
    images = rng.random((IMAGES, side, side, 3), np.float32)
    labels = rng.integers(0, CLASSES, IMAGES)

    build = getattr(tf.keras.applications, options.network)
    model = build(weights=None, input_shape=(side, side, 3), classes=CLASSES)
    pruned = tfprune.prune(model, options.sparsity)
    masks = get_masks(pruned)
    pruned.compile("adam", "sparse_categorical_crossentropy")
    pruned.fit(images, labels, batch_size=BATCH, epochs=1, verbose=2)
    require_ok(tfprune.audit(pruned))
    for row in describe(pruned):
        print(f"{row.name:<32} {row.kind:<10} {row.kept:>9,} of {row.size:>9,} {row.sparsity:7.2%}")

    plain = tfprune.strip(pruned)
    file, export = options.out / "pruned.keras", options.out / "pruned.tflite"
    plain.save(file)
    tfprune.export_tflite(plain, export)
    for what in (plain, file, export):
        report = require_ok(tfprune.audit(what, masks))
        print(f"{report.source}: {report.verdict}, {report.came_back} removed weights came back")
    return 0


if __name__ == "__main__":
    sys.exit(main())
