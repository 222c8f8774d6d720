"""Weight sharing: the kept weights of a layer, each replaced by one of a few values.

Deep Compression (Han et al. 2016, section 3): k-means over the kept weights of a layer
minimises sum_i |w_i - c_a(i)|^2. On a line the clusters are intervals, so a Lloyd iteration
over sorted weights is a binary search of the k - 1 midpoints and a difference of prefix
sums: its cost does not grow with the number of weights beyond the logarithm.

With a price on bits it minimises distortion and rate together (Chou, Lookabaugh and Gray
1989, *Entropy-constrained vector quantization*): rare values are given up where the weights
near them can do with a more common one.
"""

from __future__ import annotations

import numpy as np

from tfprune.errors import UsageError
from tfprune.share_bits import INITIALISATIONS, checked_bits

# A bound against cycling in the last digit; on real layers some tens to hundreds suffice.
_MAX_ITERATIONS = 10_000


def share(
    weights: np.ndarray,
    bits: int,
    *,
    initialisation: str = "linear",
    rate: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """One-dimensional k-means of kept weights with k <= 2^bits centroids.

    Lloyd's algorithm from the given start until no weight changes its cluster. A weight
    halfway between two centroids belongs to the lower one; clusters that are empty at the
    end are dropped. No more than 2^bits different weights are their own centroids, exactly.

    With a `rate` r above 0 the clusters minimise

        sum_i (w_i - c_a(i))^2 + r s^2 b_a(i),    b_k = -log2(n_k / n),

    s^2 the mean of the squared weights, n_k the members of a cluster, so that b_k is what an
    entropy coder takes for it in bits. Then few different weights can become fewer.

    Kept stays kept: no centroid is zero. Where the mean of a cluster is zero in float32 (its
    members lie on both sides), the member nearest zero takes its place, the positive one of
    two.

    Args:
        weights: (n,) kept weights: finite, none of them zero.
        bits: of an index, 1 to 12. The paper takes 8 for convolutions and 5 for fully
            connected layers.
        initialisation: "linear" (evenly from the smallest to the largest weight), "density"
            (evenly in the cumulative distribution), or "random" (weights drawn by `seed`).
        rate: price of a bit, from 0; 0.01 or so costs little accuracy.
        seed: for "random".

    Returns:
        centroids: (k,) float32, ascending, different from each other and from zero.
        indices: (n,) int32 into the centroids.

    Raises:
        UsageError: an argument out of range; a weight that is zero or not finite.
    """
    bits = checked_bits(bits, "bits of a codebook", repr(bits))
    if initialisation not in INITIALISATIONS:
        raise UsageError(
            f"initialisation must be one of {', '.join(INITIALISATIONS)}. "
            f"Received: {initialisation!r}"
        )
    if not 0 <= rate < np.inf:
        raise UsageError(f"rate must be a number from 0. Received: {rate!r}")
    weights = np.asarray(weights, np.float32)
    if weights.ndim != 1 or not np.isfinite(weights).all() or not weights.all():
        raise UsageError(
            "weights to share must be a flat array of finite numbers other than zero. "
            f"Received: shape {weights.shape}, "
            f"{np.count_nonzero(~np.isfinite(weights))} not finite, "
            f"{weights.size - np.count_nonzero(weights)} zero"
        )
    if not weights.size:
        return np.zeros(0, np.float32), np.zeros(0, np.int32)
    ordered = np.sort(weights)
    different = ordered[np.flatnonzero(np.diff(ordered, prepend=np.float32(np.nan)) != 0)]
    if len(different) <= 2**bits and not rate:
        return different, np.searchsorted(different, weights).astype(np.int32)
    count = min(2**bits, len(different))
    start = _start(ordered, different, count, initialisation, seed)
    cuts, means = _lloyd(ordered.astype(np.float64), start, rate)
    filled = np.diff(cuts) > 0
    centroids, merged = np.unique(
        _nonzero(means.astype(np.float32), cuts, ordered)[filled], return_inverse=True
    )
    # The last weight of each cluster but the last one bounds it.
    upper = ordered[cuts[1:][filled] - 1][:-1]
    return centroids, merged[np.searchsorted(upper, weights)].astype(np.int32)


def _start(
    ordered: np.ndarray, different: np.ndarray, count: int, initialisation: str, seed: int
) -> np.ndarray:
    """The first centroids, (count,) float64, ascending."""
    if initialisation == "linear":
        return np.linspace(float(ordered[0]), float(ordered[-1]), count)
    if initialisation == "density":
        # The middle of each of `count` equal parts of the distribution.
        middles = (2 * np.arange(count) + 1) * len(ordered) // (2 * count)
        return ordered[middles].astype(np.float64)
    drawn = np.random.default_rng(seed).choice(different, count, replace=False)
    return np.sort(drawn).astype(np.float64)


def _lloyd(
    ordered: np.ndarray, centroids: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Iterates until the clusters stay.

    Args:
        ordered: (n,) float64 weights, ascending.
        centroids: (k,) float64, ascending.
        rate: price of a bit in mean squared weights.

    Returns:
        cuts: (k + 1,), cluster j being ordered[cuts[j] : cuts[j + 1]].
        means: (k,) float64; that of an empty cluster is its last centroid.
    """
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    price = rate * float(np.mean(ordered**2)) if rate else 0.0
    prices = np.zeros(len(centroids))  # of each centroid; at the start all cost the same
    cuts = np.zeros(len(centroids) + 1, np.int64)
    for _ in range(_MAX_ITERATIONS):
        inner = np.searchsorted(ordered, _bounds(centroids, prices), side="right")
        new_cuts = np.concatenate([[0], inner, [len(ordered)]])
        if np.array_equal(new_cuts, cuts):
            break
        cuts = new_cuts
        sizes = np.diff(cuts)
        centroids = np.where(sizes > 0, np.diff(sums[cuts]) / np.maximum(sizes, 1), centroids)
        # Rounding of the sums may not put a mean outside its cluster.
        first = ordered[np.minimum(cuts[:-1], len(ordered) - 1)]
        last = ordered[np.maximum(cuts[1:] - 1, 0)]
        centroids = np.where(sizes > 0, np.clip(centroids, first, last), centroids)
        if rate:
            prices = price * -np.log2(np.maximum(sizes, np.finfo(float).tiny) / len(ordered))
            prices[sizes == 0] = np.inf
    return cuts, centroids


def _bounds(centroids: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """(k - 1,) ascending: the weights from each to the next are cheapest with centroid j + 1.

    Without prices the midpoints. With prices p the cost (w - c)^2 + p of each centroid is a
    line in w but for w^2; of the lines those on the lower envelope have weights.
    """
    if not prices.any():
        return (centroids[:-1] + centroids[1:]) / 2
    chosen: list[int] = []
    begins: list[float] = []
    for k in np.flatnonzero(np.isfinite(prices)).tolist():
        begin = -np.inf
        while chosen:
            c, price = centroids[chosen[-1]], prices[chosen[-1]]
            begin = (centroids[k] + c) / 2 + (prices[k] - price) / (2 * (centroids[k] - c))
            if begin > begins[-1]:
                break
            chosen.pop()
            begins.pop()
            begin = -np.inf
        chosen.append(k)
        begins.append(begin)
    # A centroid that is not chosen begins where the next chosen one does; after the last: never.
    after = np.searchsorted(chosen, np.arange(1, len(centroids)))
    return np.append(begins, np.inf)[after]


def _nonzero(means: np.ndarray, cuts: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Puts the member nearest zero in the place of a mean that is zero."""
    for cluster in np.flatnonzero((means == 0) & (np.diff(cuts) > 0)):
        members = ordered[cuts[cluster] : cuts[cluster + 1]][::-1]
        means[cluster] = members[np.argmin(np.abs(members))]
    return means
