"""TFLite's sparse encoding of a tensor, read back as a dense array.

Source: `tensorflow/compiler/mlir/lite/schema/schema.fbs`, SparsityParameters: a tensor of rank r
with b blocked axes is a tree of r + b levels, in the order of `traversalOrder`; a level is
dense (all its indices) or sparse (`arraySegments` tells which of `arrayIndices` are of which
node above). What stands at the leaves are the values, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def densify(values: np.ndarray, shape: Sequence[int], sparsity: Any) -> np.ndarray:
    """The dense array of a sparsely encoded tensor.

    Args:
        values: (n,) what is stored.
        shape: of the tensor.
        sparsity: its `SparsityParametersT`.

    Returns:
        Array of `shape`, 0 where nothing is stored.

    Raises:
        ValueError, IndexError: the encoding contradicts itself.
    """
    order = [int(axis) for axis in sparsity.traversalOrder]
    blocked = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    rank = len(shape)
    if sorted(order) != list(range(rank + len(blocked))):
        raise ValueError(f"a traversal order {order} of {rank} axes and {len(blocked)} blocks")
    coordinates: list[np.ndarray] = []
    nodes = 1
    for level in sparsity.dimMetadata:
        if level.arrayIndices is None:  # dense
            size = int(level.denseSize)
            parents = np.repeat(np.arange(nodes), size)
            own = np.tile(np.arange(size), nodes)
        else:
            segments = np.asarray(level.arraySegments.values, np.int64)
            own = np.asarray(level.arrayIndices.values, np.int64)
            if len(segments) != nodes + 1 or segments[-1] != len(own):
                raise ValueError("segments of a sparse level that do not fit it")
            parents = np.repeat(np.arange(nodes), np.diff(segments))
        coordinates = [above[parents] for above in coordinates] + [own]
        nodes = len(own)
    if len(coordinates) != len(order) or nodes != values.size:
        raise ValueError(f"{values.size} values where the sparse encoding has {nodes}")
    by_axis = dict(zip(order, coordinates, strict=True))
    for block, axis in enumerate(blocked):
        size = int(sparsity.dimMetadata[order.index(rank + block)].denseSize)
        by_axis[axis] = by_axis[axis] * size + by_axis[rank + block]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(by_axis[axis] for axis in range(rank))] = values
    return dense
