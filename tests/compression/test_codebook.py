"""Weight sharing: against a slow reference, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.codebook import INITIALISATIONS, share
from tfprune.errors import UsageError


def slow_lloyd(weights, centroids):
    """Lloyd's algorithm as a textbook has it: all distances, the lower centroid of two equal."""
    weights = weights.astype(np.float64)
    nearest = None
    while True:
        distances = np.abs(weights[:, None] - centroids[None, :])
        new = distances.argmin(axis=1)
        if nearest is not None and np.array_equal(new, nearest):
            return centroids, nearest
        nearest = new
        for k in range(len(centroids)):
            if (nearest == k).any():
                centroids[k] = weights[nearest == k].mean()


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_clusters_are_those_of_a_slow_reference(bits, seed):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=500).astype(np.float32)
    start = np.linspace(float(weights.min()), float(weights.max()), 2**bits)
    expected, nearest = slow_lloyd(weights, start)
    centroids, indices = share(weights, bits)
    np.testing.assert_allclose(centroids[indices], expected[nearest], rtol=1e-6)
    assert len(centroids) == len(np.unique(nearest))


def test_by_hand():
    # Linear start at -1, 5/3, 13/3, 7 for 2 bits: clusters {-1, 0.25}, {2}, {4, 5}, {6, 7}.
    weights = np.array([7, -1, 4, 6, 0.25, 2, 5], np.float32)
    centroids, indices = share(weights, 2)
    assert centroids.tolist() == [-0.375, 2, 4.5, 6.5]
    assert indices.tolist() == [3, 0, 2, 3, 0, 1, 2]


def test_halfway_belongs_to_the_lower_centroid():
    # Start at 1 and 9; 5 is halfway.
    centroids, indices = share(np.array([1, 5, 9], np.float32), 1)
    assert indices.tolist() == [0, 0, 1] and centroids.tolist() == [3, 9]


def test_bits_of_any_whole_type_are_those_of_int():
    weights = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for bits in (np.uint8(8), np.int8(8), np.array(8)):
        for mine, other in zip(share(weights, bits), share(weights, 8), strict=True):
            assert np.array_equal(mine, other)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_few_different_weights_are_exact(initialisation):
    weights = np.array([3, -2, 3, 0.1, -2], np.float32)
    centroids, indices = share(weights, 2, initialisation=initialisation)
    assert centroids.dtype == np.float32 and indices.dtype == np.int32
    assert centroids.tolist() == [-2, np.float32(0.1), 3]
    assert np.array_equal(centroids[indices], weights)


def test_kept_stays_kept_where_a_mean_is_zero():
    # One cluster {-3, -1, 1, 3} beside a far one: its mean is 0, +1 is nearest to it.
    weights = np.array([-3, -1, 1, 3, 100, 101], np.float32)
    centroids, indices = share(weights, 1)
    assert centroids.tolist() == [1, 100.5] and indices.tolist() == [0, 0, 0, 0, 1, 1]


def test_the_initialisations_differ_where_weights_are_uneven():
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.normal(0, 0.01, 10_000), rng.normal(0, 1, 50)])
    weights = weights.astype(np.float32)
    found = {name: share(weights, 3, initialisation=name)[0] for name in INITIALISATIONS}
    # As in the paper's section 3.2, linear keeps centroids for the few large weights.
    assert np.abs(found["linear"]).max() > np.abs(found["density"]).max()
    again = share(weights, 3, initialisation="random", seed=0)[0]
    assert np.array_equal(found["random"], again)
    assert not np.array_equal(share(weights, 3, initialisation="random", seed=1)[0], again)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 300),
    bits=st.integers(1, 5),
    initialisation=st.sampled_from(INITIALISATIONS),
    scale=st.sampled_from([1e-42, 1e-6, 1.0, 1e30]),
)
@settings(max_examples=80, deadline=None)
def test_properties(seed, count, bits, initialisation, scale):
    rng = np.random.default_rng(seed)
    weights = (rng.standard_cauchy(count).clip(-100, 100) * scale).astype(np.float32)
    weights = weights[weights != 0]
    centroids, indices = share(weights, bits, initialisation=initialisation, seed=seed)
    assert len(centroids) <= 2**bits and len(indices) == len(weights)
    assert (np.diff(centroids) > 0).all() and centroids.all()
    assert set(indices.tolist()) == set(range(len(centroids)))
    # Clusters are intervals: a larger weight never has a smaller centroid.
    assert (np.diff(indices[np.argsort(weights, kind="stable")]) >= 0).all()


#: Figure 3 of Deep Compression: weights, and the cluster of each.
WEIGHTS = [
    *(2.09, -0.98, 1.48, 0.09, 0.05, -0.14, -1.08, 2.12),
    *(-0.91, 1.92, 0, -1.03, 1.87, 0, 1.53, 1.49),
]
CLUSTERS = [3, 0, 2, 1, 1, 1, 0, 3, 0, 3, 1, 0, 3, 1, 2, 2]


def test_the_clusters_of_the_papers_figure():
    weights, clusters = np.array(WEIGHTS, np.float32), np.array(CLUSTERS)
    kept = weights != 0
    centroids, indices = share(weights[kept], 2)
    np.testing.assert_allclose(centroids, [-1, 0, 1.5, 2], atol=1e-6)
    assert centroids.all() and np.array_equal(indices, clusters[kept])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], 0), "from 1 to 12. Received: 0"),
        (([1.0], 13), "Received: 13"),
        (([1.0], 2.5), "Received: 2.5"),
        (([1.0], 5.0), "Received: 5.0"),
        (([1.0], True), "Received: True"),
        (([1.0], "5"), "Received: '5'"),
        (([0.0, 1.0], 2), "1 zero"),
        (([np.nan, np.inf, 1], 2), "2 not finite"),
        (([[1.0]], 2), r"shape \(1, 1\)"),
    ],
)
def test_what_cannot_be_shared_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        share(np.asarray(arguments[0], np.float32), arguments[1])


def test_an_unknown_initialisation_is_refused():
    with pytest.raises(UsageError, match=r"one of linear, density, random. Received: 'k'"):
        share(np.ones(3, np.float32), 2, initialisation="k")


def entropy_constrained(weights, centroids, prices):
    """Costs (w - c)^2 + p of every weight and centroid."""
    return (weights[:, None] - centroids[None, :]) ** 2 + prices[None, :]


@pytest.mark.parametrize("rate", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_with_a_rate_each_weight_has_the_cheapest_centroid(rate, initialisation):
    weights = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    centroids, indices = share(weights, 5, rate=rate, initialisation=initialisation)
    shares = np.bincount(indices) / len(weights)
    assert len(shares) == len(centroids) and shares.all()
    wide = weights.astype(np.float64)
    prices = rate * np.mean(wide**2) * -np.log2(shares)
    costs = entropy_constrained(wide, centroids.astype(np.float64), prices)
    found = costs[np.arange(len(weights)), indices]
    assert (found <= costs.min(axis=1) + 1e-6).all()
    means = np.bincount(indices, weights=wide) / np.bincount(indices)
    np.testing.assert_allclose(centroids, means, rtol=1e-5, atol=1e-6)


def test_a_rate_saves_bits_at_the_price_of_distortion():
    weights = np.random.default_rng(0).laplace(size=5000).astype(np.float32)
    bits, errors = [], []
    for rate in (0, 0.003, 0.01, 0.03):
        centroids, indices = share(weights, 6, rate=rate)
        shares = np.bincount(indices) / len(weights)
        bits.append(-np.sum(shares * np.log2(shares)))
        errors.append(np.mean((weights - centroids[indices]) ** 2))
    assert bits == sorted(bits, reverse=True) and errors == sorted(errors)


def test_a_rate_by_hand():
    # The mean square is 8.4, a bit costs 84: the 4 goes with the 3s, and then they are the most.
    weights = np.array([2, 3, 2, 3, 4], np.float32)
    assert share(weights, 2)[0].tolist() == [2, 3, 4]
    centroids, indices = share(weights, 2, rate=10.0)
    assert centroids.tolist() == [np.float32(2.8)] and not indices.any()


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UsageError, match="rate must be a number from 0"):
        share(np.ones(3, np.float32), 2, rate=rate)
