"""PrunableLayer: a layer and the masks of its variables.

The masks act through constraints, which the optimizers of both Kerases apply after every
update: the shortest way to zeros in any training loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.prunable import kernels_of, live_units, maskable

_register = keras.utils.register_keras_serializable(package="tfprune")


def select_kept(mask: Any, values: Any) -> Any:
    """`values` where the mask is True, +0.0 elsewhere.

    Selects: a product would leave -0.0, and NaN where a removed weight diverged.
    """
    values = tf.convert_to_tensor(values)
    return tf.where(tf.convert_to_tensor(mask), values, tf.zeros([], values.dtype))


@_register
class MaskConstraint(keras.constraints.Constraint):
    """Applies the user's own constraint, then the mask.

    Args:
        user: the constraint that the layer had, or None.

    Attributes:
        mask: bool variable, set when the layer is built.
    """

    def __init__(self, user: Any = None) -> None:
        self.user = keras.constraints.get(user)
        self.mask: Any = None

    def __call__(self, w: Any) -> Any:
        """Gives the constrained weights."""
        if self.user is not None:
            w = self.user(w)
        return w if self.mask is None else select_kept(self.mask, w)

    def get_config(self) -> dict[str, Any]:
        """Gives the user's constraint; the mask is a weight of the `PrunableLayer`."""
        return {"user": _serialized(self.user)}


@_register
class PrunableLayer(keras.layers.Wrapper):
    """A layer whose removed weights stay exactly zero while it trains.

    It has the name of the layer inside, adds one non-trainable bool variable per masked
    variable, and is otherwise that layer: outputs, losses, shapes, masking, dtype policy.

    Args:
        layer: a layer with prunable weights or a batch normalization. Not yet built: Keras
            reads a constraint when it makes a variable, and one set later is lost on the
            replicas of a distribution strategy.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        UsageError: the layer is built, or has nothing that a mask could cover.
    """

    is_tfprune_wrapper = True

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        constraints = maskable(layer)
        if not constraints:
            raise UsageError(
                f"PrunableLayer needs a layer with prunable weights (Conv, Dense, EinsumDense, "
                "Embedding, BatchNormalization, or one that declares prunable_weights). "
                f"Received: {layer.name!r} of type {type(layer).__name__}"
            )
        if layer.built:
            raise UsageError(
                f"PrunableLayer needs a layer that is not built yet. Received: {layer.name!r}, "
                "which is; use tfprune.prune(model, 0.0) to wrap the layers of a built model"
            )
        for attribute in constraints.values():
            user = getattr(layer, attribute, None)
            user = user.user if isinstance(user, MaskConstraint) else user
            setattr(layer, attribute, MaskConstraint(user))
        defaults = {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable}
        # The layer inside casts its inputs itself, or does not, as an Embedding.
        super().__init__(layer, autocast=False, **{**defaults, **kwargs})
        self.supports_masking = layer.supports_masking
        # tf_keras hands both to any call with **options.
        self._not_taken = {"training", "mask"} - set(inspect.signature(layer.call).parameters)

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer inside, then one mask for each of its masked variables."""
        super().build(input_shape)
        for attribute, constraint_attribute in maskable(self.layer).items():
            variable = getattr(self.layer, attribute, None)
            if variable is None:
                continue
            constraint = getattr(self.layer, constraint_attribute)
            if variable.constraint is not constraint:
                raise UsageError(
                    f"layer {self.layer.name!r} makes its variable {attribute!r} without a "
                    f"constraint, so that its zeros would not last: pass constraint="
                    f"self.{constraint_attribute} to add_weight. "
                    f"Received: constraint={variable.constraint!r}"
                )
            constraint.mask = self.add_weight(
                name=f"{attribute}_mask",
                shape=variable.shape,
                dtype="bool",
                initializer="ones",
                trainable=False,
            )
        self.built = True

    @property
    def masks(self) -> dict[str, Any]:
        """Attribute of the layer inside ("kernel") -> its mask variable."""
        pairs = maskable(self.layer).items()
        masks = {name: getattr(self.layer, constraint).mask for name, constraint in pairs}
        return {name: mask for name, mask in masks.items() if mask is not None}

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Sets the given masks, kills the biases of dead units, and zeroes the weights.

        Args:
            masks: attribute -> bool array, some or all of `self.masks`.
        """
        new = {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}
        for kernel in kernels_of(self.layer):
            if kernel.attribute in new and kernel.bias in self.masks:
                alive = live_units(self.layer, kernel, new[kernel.attribute])
                if alive is not None:
                    new[kernel.bias] = alive & new.get(kernel.bias, True)
        for name, mask in new.items():
            self.masks[name].assign(mask)
        self.apply_masks()

    def apply_masks(self) -> None:
        """Sets the removed weights to exactly +0.0 again."""
        for name, mask in self.masks.items():
            variable = getattr(self.layer, name)
            variable.assign(select_kept(mask, variable))

    def call(self, inputs: Any, **options: Any) -> Any:
        """Calls the layer inside, with the options (`training`, `mask`) that it takes."""
        passed_on = {k: v for k, v in options.items() if k not in self._not_taken}
        return self.layer(inputs, **passed_on)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Gives that of the layer inside."""
        return self.layer.compute_output_shape(input_shape)

    def compute_output_spec(self, inputs: Any, **options: Any) -> Any:
        """Traces `call`, as Keras 3 does for layers that need not know their output shape."""
        return keras.Operation.compute_output_spec(self, inputs, **options)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Gives the sequence mask of the layer inside (nothing to do with pruning)."""
        return self.layer.compute_mask(inputs, mask)

    def plain_config(self) -> dict[str, Any]:
        """Config of the layer inside, with the constraints that the user gave it."""
        return self._without_masks(self.layer.get_config())

    def get_config(self) -> dict[str, Any]:
        """Gives the config; that of the layer inside has the user's own constraints."""
        config = super().get_config()
        config["layer"]["config"] = self._without_masks(config["layer"]["config"])
        # Keras 3 would build the layer from it before the wrapper could set the constraints.
        config["layer"].pop("build_config", None)
        return config

    def _without_masks(self, config: dict[str, Any]) -> dict[str, Any]:
        own = {
            name: _serialized(getattr(self.layer, name).user)
            for name in maskable(self.layer).values()
            if name in config
        }
        return {**config, **own}


def _serialized(constraint: Any) -> Any:
    return None if constraint is None else keras.constraints.serialize(constraint)
