"""The price of a bit that brings a model's file within a number of bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfprune.compression.artifact import coded_bytes
from tfprune.compression.sharing import share_kernels
from tfprune.errors import UsageError
from tfprune.pruning.pruner import strip

#: The lowest price above 0 that is tried; below it a weight hardly ever moves.
_LOWEST = 1e-4
#: At this price a bit is worth as much as the mean squared weight: nothing is left to gain.
_HIGHEST = 1.0
#: How near to the limit, as a fraction of it, a file is near enough.
_RESOLUTION = 0.001
#: How near two prices are the same.
_SAME = 1.01


def price_within(
    model: Any,
    bits: int | Mapping[str, int] | None,
    limit: int,
    *,
    initialisation: str = "linear",
    seed: int = 0,
    coder: str = "context",
    other_bits: int = 32,
) -> float:
    """The lowest price of a bit at which the shared weights make a file of `limit` bytes at most.

    A bisection on the logarithm of the price, from 1e-4 to 1, in which every file is coded; it
    ends within 0.1% of the limit, or of a price known to 1%. The file that is counted is that
    of the price returned, so the promise holds whether or not sizes fall with every step of the
    price. Training the centroids later changes values in it, not their number, and a code
    hangs on their order, too: AlexNet's file of 1,088,914 bytes grew by 0.1%, nearly all in fc2.

    Args:
        model: a built functional or sequential model, wrapped or plain. It is not changed.
        bits: of an index, as in `share_weights`.
        limit: bytes of the whole file, architecture included, >= 1.
        initialisation: of k-means, as in `codebook.share`.
        seed: of initialisation="random".
        coder: what codes the file, as in `save_compressed`.
        other_bits: of what is not coded, as in `save_compressed`.

    Returns:
        The price, as the `rate` of `share_weights` and `codebook.share`: from 0 (any price
        fits) to 1.

    Raises:
        UsageError: an argument that cannot be used; no price makes the file small enough.
    """
    if type(limit) is not int or limit < 1:
        raise UsageError(f"bytes of a file must be a whole number >= 1. Received: {limit!r}")
    plain = strip(model)
    weights = plain.get_weights()

    def size(price: float) -> int:
        plain.set_weights(weights)
        share_kernels(plain, bits, initialisation=initialisation, rate=price, seed=seed)
        return coded_bytes(plain, coder, other_bits)

    if size(0.0) <= limit:
        return 0.0
    smallest = size(_HIGHEST)
    if smallest > limit:
        raise UsageError(
            f"sharing weights cannot make a file of {limit} bytes: at a price of {_HIGHEST:g} it "
            f"still has {smallest}; remove more weights, or give fewer bits"
        )
    exceeds, fits, fitting = _LOWEST, _HIGHEST, smallest
    if size(_LOWEST) <= limit:
        return _LOWEST
    while fits / exceeds > _SAME and fitting < (1 - _RESOLUTION) * limit:
        middle = math.sqrt(exceeds * fits)
        found = size(middle)
        if found <= limit:
            fits, fitting = middle, found
        else:
            exceeds = middle
    return fits
