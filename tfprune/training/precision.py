"""What training multiplies in: float32, or bfloat16 where that is faster.

bfloat16 is float32 with 8 of its 24 bits of mantissa. TensorFlow then rounds factors and results of
the matrix products and convolutions of a training step, forward and backward; their sums, the loss,
the weights and the optimizer stay float32, and so does the model, which is evaluated and exported
in float32. Processors with AMX or AVX-512 BF16 have instructions for it.

Source: Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning Training".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tfprune.backend import tf

_REWRITE = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Within it TensorFlow's graphs multiply in "float32" or "bfloat16".

    Each call of a graph looks at it, so that one graph can run in both. For processors that have
    bfloat16: on others TensorFlow has slow kernels for it, or none.
    """
    if precision == "float32":
        yield
        return
    tf.config.optimizer.set_experimental_options({_REWRITE: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_REWRITE: False})
