"""Bytes of quantized tensors by nncodec. Run by `compare_nncodec.py` in nncodec's environment.

    python nncodec_sizes.py TENSORS.npz

Each array of int32 levels is coded by itself, as it is and with its last axis (filters, neurons)
first, as PyTorch has it, with and without row skipping and parameter optimisation; the smallest
that decodes to the same levels counts. Prints JSON, name -> bytes.
"""

import itertools
import json
import os
import sys
import tempfile

import numpy as np
import torch

# nncodec imports torchvision, and nothing of it is used here. Where its operators do not load
# (PyTorch without CUDA, torchvision with) it still wants to describe these.
try:
    import torchvision  # noqa: F401
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
        )

from nncodec import nnc


def smallest(levels):
    """Bytes of the shortest bit stream that decodes to the levels."""
    found = []
    for first, rows, optimise in itertools.product((False, True), (False, True), (False, True)):
        array = np.ascontiguousarray(np.moveaxis(levels, -1, 0) if first else levels)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "one.nnc")
            nnc.compress(
                {"w": array.copy()}, bitstream_path=path, row_skipping=rows, param_opt=optimise
            )
            size = os.path.getsize(path)
            back = nnc.decompress(path)
        if np.array_equal(np.asarray(back["w"]), array):
            found.append(size)
    if not found:
        raise SystemExit("nncodec gives back other levels than it was given")
    return min(found)


with np.load(sys.argv[1]) as arrays:
    tensors = {name: arrays[name] for name in arrays.files}
output, sys.stdout = sys.stdout, sys.stderr
sizes = {name: smallest(levels) for name, levels in tensors.items()}
print(json.dumps(sizes), file=output)
