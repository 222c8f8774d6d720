"""What the hardware allows: memory bandwidth and matrix products, measured among the rounds.

The probe is one more contender, so that its rates are those of the same minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarking.rounds import Contender, Timings, Turn

_SIDE = 3072  # of the matrices: 58 G operations a product
_WORDS = 32 << 20  # 128 MiB to copy, far beyond most caches


def probe(turn: Turn) -> None:
    """A matrix product on all cores, a copy on one and on two threads; notes both rates."""
    from tfprune.backend import tf

    rng = np.random.default_rng(0)
    matrix = tf.constant(rng.standard_normal((_SIDE, _SIDE), np.float32))
    source = rng.random(_WORDS, np.float32)
    target = np.empty_like(source)
    half = len(source) // 2
    parts = [slice(0, half), slice(half, None)]
    rates: dict[str, float] = {}

    def copy(part: slice) -> None:
        np.copyto(target[part], source[part])

    with ThreadPoolExecutor(2) as threads:
        while True:
            turn(**rates)
            seconds = _timed(lambda: tf.matmul(matrix, matrix).numpy())
            rates["operations_per_second"] = 2 * _SIDE**3 / seconds
            one = _timed(lambda: copy(slice(None)))
            two = _timed(lambda: list(threads.map(copy, parts)))
            rates["bytes_per_second"] = 2 * source.nbytes / min(one, two)


PROBE = Contender("probe", "floors:probe")


def rates(timings: Mapping[str, Timings]) -> dict[str, float]:
    """The best rates the probe saw: a floor is a limit."""
    keys = ("bytes_per_second", "operations_per_second")
    return {key: max(timings[PROBE.name].each(key)) for key in keys}


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
