"""The proofs of exported files: what they let through and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfprune.errors import TfpruneError
from tfprune.export.files import _require_same_weights
from tfprune.export.tflite_files import require_same_outputs
from tfprune.models import build


@pytest.mark.parametrize("difference", [2e-3, np.inf, np.nan])
def test_a_file_that_computes_something_else_is_refused(difference: float) -> None:
    with pytest.raises(TfpruneError, match="the exported tflite file computes something else"):
        require_same_outputs("tflite", {"max_abs_difference": difference}, np.full(3, 0.5))


@pytest.mark.parametrize(("difference", "largest"), [(0.0, 0.5), (9e-4, 0.5), (9e-3, -10.0)])
def test_what_rounding_does_is_let_through(difference: float, largest: float) -> None:
    """A thousandth of the largest output, or of 1 where all are smaller."""
    require_same_outputs("tflite", {"max_abs_difference": difference}, np.array([0.1, largest]))


def test_a_file_that_differs_in_one_bit_of_one_weight_is_refused() -> None:
    path = Path("folder") / "pruned.keras"
    model, other = (build("lenet300_100", (4, 4, 1), 10) for _ in range(2))
    other.set_weights(model.get_weights())
    _require_same_weights(path, other, model)
    weights = other.get_weights()
    weights[2].view(np.uint32)[5, 7] ^= 1
    other.set_weights(weights)
    with pytest.raises(TfpruneError, match=r"file pruned\.keras holds other weights than the mod"):
        _require_same_weights(path, other, model)
