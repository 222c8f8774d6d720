"""A mask on a variable: what keeps removed weights at exactly zero while it trains.

A mask acts through the variable's constraint, which the optimizers of both Kerases apply
after every update: the shortest way to zeros in any training loop. It is set on the variable
once that is made, so that a layer need not know of it, nor its config.
"""

from __future__ import annotations

from typing import Any

from tfprune.backend import IS_TF_KERAS, keras, tf


def select_kept(mask: Any, values: Any) -> Any:
    """`values` where the mask is True, +0.0 elsewhere.

    Selects: a product would leave -0.0, and NaN where a removed weight diverged.
    """
    values = tf.convert_to_tensor(values)
    return tf.where(tf.convert_to_tensor(mask), values, tf.zeros([], values.dtype))


class MaskConstraint(keras.constraints.Constraint):
    """Applies the user's own constraint, then the mask.

    Args:
        user: the constraint that the variable had, or None.
        mask: bool variable of its shape, True = kept.
    """

    def __init__(self, user: Any, mask: Any) -> None:
        self.user = user
        self.mask = mask

    def __call__(self, w: Any) -> Any:
        """Gives the constrained weights."""
        return select_kept(self.mask, w if self.user is None else self.user(w))


def mask_of(variable: Any) -> Any:
    """The mask of a variable, itself a variable; None where it has none."""
    constraint = getattr(variable, "constraint", None)
    return constraint.mask if isinstance(constraint, MaskConstraint) else None


def attach_mask(variable: Any, mask: Any) -> None:
    """Gives a variable, which has none, a mask; the user's constraint acts before it."""
    _constrain(variable, MaskConstraint(variable.constraint, mask))


def detach_mask(variable: Any) -> None:
    """Takes the mask from a variable, which has one; the user's constraint stays."""
    _constrain(variable, variable.constraint.user)


def apply_mask(variable: Any) -> None:
    """Sets the removed weights of a masked variable to exactly +0.0 again."""
    variable.assign(select_kept(mask_of(variable), variable))


def _constrain(variable: Any, constraint: Any) -> None:
    if not IS_TF_KERAS:
        variable.constraint = constraint
        return
    # There is no public door in TensorFlow. A variable may come in a cover that casts it, and
    # under a strategy as one copy a replica, each of which its optimizer asks by itself.
    variable = getattr(variable, "_variable", variable)
    for copy in getattr(variable, "values", (variable,)):
        copy._constraint = constraint
