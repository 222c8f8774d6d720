"""Optimizers, built for what they train: their variables exist before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfprune.backend import IS_TF_KERAS, keras, tf


def make_optimizer(name: str, variables: Sequence[Any]) -> Any:
    """Adam (beta 0.9 and 0.999, epsilon 1e-8) or SGD (Nesterov momentum 0.9) for variables.

    Under tf_keras the legacy classes are taken: each update is one fused kernel, which
    halves the time of a training step where large fc layers dominate it.
    """
    family = keras.optimizers.legacy if IS_TF_KERAS else keras.optimizers
    if name == "adam":
        optimizer = family.Adam(learning_rate=0.0, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    else:
        optimizer = family.SGD(learning_rate=0.0, momentum=0.9, nesterov=True)
    if IS_TF_KERAS:
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)
    return optimizer


def optimizer_variables(optimizer: Any) -> list[tf.Variable]:
    """The variables a checkpoint of the optimizer holds, in a fixed order."""
    return list(optimizer.weights if IS_TF_KERAS else optimizer.variables)
