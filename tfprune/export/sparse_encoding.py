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
        ValueError, or another one of `errors.DAMAGED`: the encoding contradicts itself.
    """
    order = [int(axis) for axis in sparsity.traversalOrder]
    blocked = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    rank = len(shape)
    if sorted(order) != list(range(rank + len(blocked))):
        raise ValueError(f"a traversal order {order} of {rank} axes and {len(blocked)} blocks")
    if len(sparsity.dimMetadata) != len(order):
        raise ValueError(f"{len(sparsity.dimMetadata)} levels of {len(order)} axes and blocks")
    _check_levels(sparsity.dimMetadata, values.size)
    coordinates: list[np.ndarray] = []
    nodes = 1
    for level in sparsity.dimMetadata:
        if level.arrayIndices is None:  # dense
            size = int(level.denseSize)
            parents, own = np.divmod(np.arange(nodes * size), size)
        else:
            own = np.asarray(level.arrayIndices.values, np.int64)
            segments = np.asarray(level.arraySegments.values, np.int64)
            parents = np.repeat(np.arange(nodes), np.diff(segments))
        coordinates = [above[parents] for above in coordinates] + [own]
        nodes = len(own)
    by_axis = dict(zip(order, coordinates, strict=True))
    for block, axis in enumerate(blocked):
        size = int(sparsity.dimMetadata[order.index(rank + block)].denseSize)
        by_axis[axis] = by_axis[axis] * size + by_axis[rank + block]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(by_axis[axis] for axis in range(rank))] = values
    return dense


def _check_levels(levels: Sequence[Any], stored: int) -> None:
    """Refuses levels whose numbers of nodes do not fit each other and the `stored` values.

    After it no level has more nodes than the file has segments or values, whatever size a
    dense one claims: only then is anything allocated for them.
    """
    nodes = 1
    for level in levels:
        if level.arrayIndices is None:  # dense
            if level.denseSize < 1:
                raise ValueError(f"a dense level of size {level.denseSize}")
            nodes *= int(level.denseSize)
        else:
            segments, found = level.arraySegments.values, len(level.arrayIndices.values)
            if len(segments) != nodes + 1 or segments[0] != 0 or segments[-1] != found:
                raise ValueError("segments of a sparse level that do not fit it")
            nodes = found
    if nodes != stored:
        raise ValueError(f"{stored} values where the sparse encoding has {nodes}")
