"""Weight sharing over a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.compression.codebook import share
from tfprune.errors import UsageError
from tfprune.pruning.prunable import Prunable, prunables
from tfprune.pruning.pruner import strip
from tfprune.share_bits import checked_bits

#: Bits of a codebook index by kind of layer, as in Deep Compression.
PAPER_BITS = {"conv": 8, "fc": 5}


def share_weights(
    model: Any,
    bits: int | Mapping[str, int] | None = None,
    *,
    initialisation: str = "linear",
    rate: float = 0.0,
    seed: int = 0,
) -> Any:
    """Replaces the kept weights of each layer by the centroids of their clusters.

    Args:
        model: a built functional or sequential model, wrapped or plain. It is not changed.
        bits: of an index, for all layers; or kind ("conv", "fc", ...) or name of a layer ->
            bits, names first, layers not mentioned keeping their weights. None: 8 for
            convolutions and 5 for dense layers, the paper's.
        initialisation: of k-means, as in `codebook.share`.
        rate: price of a bit, as in `codebook.share`; 0: distortion alone decides.
        seed: of initialisation="random".

    Returns:
        A new plain model, not compiled. Removed weights are +0.0 and kept ones are not zero.

    Raises:
        UsageError: an argument that cannot be used, or weights that are not finite.
    """
    shared = strip(model)
    share_kernels(shared, bits, initialisation=initialisation, rate=rate, seed=seed)
    return shared


def share_kernels(
    model: Any,
    bits: int | Mapping[str, int] | None = None,
    *,
    initialisation: str = "linear",
    rate: float = 0.0,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Does what `share_weights` does to the given model itself, which may be wrapped.

    Returns:
        "conv1/kernel" -> int32 array of the kernel's shape, for each layer that shares: 0 for
        a removed weight, else 1 + the number of its centroid.

    Raises:
        UsageError: as `share_weights`.
    """
    layers = prunables(model)
    members = {}
    for layer, layer_bits in _bits_of(layers, PAPER_BITS if bits is None else bits).items():
        variable = layers[layer].variable
        weights = tf.convert_to_tensor(variable).numpy()
        kept = weights != 0
        try:
            centroids, indices = share(
                weights[kept].astype(np.float32),
                layer_bits,
                initialisation=initialisation,
                rate=rate,
                seed=seed,
            )
        except UsageError as error:
            raise UsageError(f"layer {layers[layer].name!r}: {error}") from error
        member = np.zeros(weights.shape, np.int32)
        member[kept] = 1 + indices
        variable.assign(np.append(np.float32(0), centroids)[member])
        members[layers[layer].key] = member
    return members


def _bits_of(layers: list[Prunable], bits: int | Mapping[str, int]) -> dict[int, int]:
    """Number of a layer -> bits, of those that are to share."""
    if not isinstance(bits, Mapping):
        bits = {layer.name: bits for layer in layers}
    known = {layer.kernel.kind for layer in layers} | {layer.name for layer in layers}
    # The paper's two kinds need not both be there.
    unknown = [name for name in bits if name not in known | PAPER_BITS.keys()]
    if unknown:
        raise UsageError(
            f"share_bits: no layer is called {unknown[0]!r}. Possible: {', '.join(sorted(known))}"
        )
    checked = {
        name: checked_bits(value, "share_bits", f"{value!r} for {name!r}")
        for name, value in bits.items()
    }
    found = {}
    for number, layer in enumerate(layers):
        chosen = checked.get(layer.name, checked.get(layer.kernel.kind))
        if chosen is not None:
            found[number] = chosen
    return found
