import numpy as np
import pytest

from tfprune.backend import tf
from tfprune.machine import has_bfloat16
from tfprune.training.precision import computing_in


@pytest.fixture
def product():
    return tf.function(lambda a, b: tf.nn.relu(tf.matmul(a, b) + 1.0))


@pytest.mark.skipif(not has_bfloat16(), reason="the processor has no bfloat16")
def test_factors_are_rounded_within_and_nothing_outside(product):
    # 1 + 2**-8 lies half way between two numbers of bfloat16, and is rounded to the even one, 1:
    # times 2**8, plus 1, gives 258 in float32 and 257 with rounded factors, or 256, where the sum
    # of the fused operation is rounded, too (Kalamkar et al. 2019: round to nearest even).
    a, b = tf.fill((64, 64), 1 + 2.0**-8), tf.eye(64) * 2.0**8
    for _ in range(2):
        np.testing.assert_array_equal(product(a, b), np.full((64, 64), 258.0))
        with computing_in("bfloat16"):
            assert set(np.unique(product(a, b))) <= {256.0, 257.0}
    with computing_in("float32"):
        np.testing.assert_array_equal(product(a, b), np.full((64, 64), 258.0))


def test_an_error_within_ends_it():
    with pytest.raises(ValueError, match="within"), computing_in("bfloat16"):
        raise ValueError("within")
    assert not any(tf.config.optimizer.get_experimental_options().values())
