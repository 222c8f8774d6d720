"""PrunableLayer: a layer and the masks of its variables."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.constraint import apply_mask, attach_mask, mask_of
from tfprune.pruning.graph import parts
from tfprune.pruning.kernels import maskable


class _CallInside:
    """The `call` of a wrapper: calls the layer inside and has its signature.

    Keras reads from the signature what a layer may be given: several inputs, `training`,
    `mask`, an initial state. No property: where tf_keras saves it sets `call` for a while.
    """

    def __get__(self, wrapper: Any, owner: type) -> Any:
        if wrapper is None:
            return self
        layer = wrapper.layer
        names = list(wrapper.signature.parameters)

        @functools.wraps(layer.call)
        def call(*args: Any, **kwargs: Any) -> Any:
            if 1 < len(args) <= len(names):
                # An RNN of tf_keras takes more arguments than it takes by position.
                args, kwargs = args[:1], {**dict(zip(names[1:], args[1:], strict=False)), **kwargs}
            outputs = layer(*args, **kwargs)
            wrapper.add_masks()
            return outputs

        call.__signature__ = wrapper.signature  # type: ignore[attr-defined]
        return call


@keras.utils.register_keras_serializable(package="tfprune")
class PrunableLayer(keras.layers.Wrapper):
    """A layer whose removed weights stay exactly zero while it trains.

    It has the name of the layer inside, adds one non-trainable bool variable per masked
    variable, and is otherwise that layer: calls, outputs, losses, shapes, masking, dtype
    policy. The masks are made with the variables, in the first call.

    Args:
        layer: a layer that has prunable weights, itself or in the layers inside it, or a
            batch normalization.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        UsageError: in the first call, where nothing is there that a mask could cover.
    """

    is_tfprune_wrapper = True

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        # The constructor of Layer asks for `call`.
        self.layer, self.signature = layer, inspect.signature(layer.call)
        defaults = {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable}
        # The layer inside casts its inputs itself, or does not, as an Embedding.
        super().__init__(layer, autocast=False, **{**defaults, **kwargs})
        self.supports_masking = layer.supports_masking
        self._has_masks = False
        if layer.built:
            self.add_masks()

    def build(self, input_shape: Any = None) -> None:
        """Builds the layer inside where its shape is all that takes; else the first call does."""
        of_its_own = type(self.layer).build not in (keras.layers.Layer.build, keras.Model.build)
        if of_its_own and len(inspect.signature(self.layer.build).parameters) == 1:
            super().build(input_shape)
            if all(layer.built for _, layer in parts(self.layer)):
                self.add_masks()
        self.built = True

    call = _CallInside()

    @property
    def masks(self) -> dict[str, Any]:
        """Variable of the layer inside ("kernel", "cell/kernel") -> its mask variable."""
        found = {name: mask_of(variable) for name, variable in self._maskable().items()}
        return {name: mask for name, mask in found.items() if mask is not None}

    def apply_masks(self) -> None:
        """Sets the removed weights to exactly +0.0 again."""
        for variable in self._maskable().values():
            if mask_of(variable) is not None:
                apply_mask(variable)

    def _maskable(self) -> dict[str, Any]:
        return {
            f"{path}/{name}".strip("/"): variable
            for path, layer in parts(self.layer)
            for name, variable in maskable(layer).items()
        }

    def add_masks(self) -> None:
        """Makes one mask for each variable of the layer inside that may have one, once."""
        if self._has_masks:
            return
        variables = self._maskable()
        if not variables:
            raise UsageError(
                "PrunableLayer needs a layer with prunable weights (Conv, Dense, EinsumDense, "
                "Embedding, LSTM, GRU, MultiHeadAttention, BatchNormalization, one made of such "
                "layers, or one that declares prunable_weights). "
                f"Received: {self.layer.name!r} of type {type(self.layer).__name__}"
            )
        # A wrapper out of a SavedModel has its masks before the first call.
        held = {w.name.split("/")[-1].split(":")[0]: w for w in self.non_trainable_weights}
        with self._open():
            for path, variable in variables.items():
                name = f"{path.replace('/', '_')}_mask"
                mask = held.get(name) if IS_TF_KERAS else None
                if mask is None:
                    mask = self.add_weight(
                        name=name,
                        shape=variable.shape,
                        dtype="bool",
                        initializer="ones",
                        trainable=False,
                    )
                attach_mask(variable, mask)
        self._has_masks = True

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Lets weights be added in a call: Keras 3 locks what is built, tf_keras is in a graph."""
        if IS_TF_KERAS:
            with tf.init_scope():
                yield
            return
        locked = self._tracker.locked
        self._tracker.unlock()
        yield
        if locked:
            self._tracker.lock()

    def save_own_variables(self, store: Any) -> None:
        """Writes the masks. The layer inside is written next, with what they remove at zero."""
        self.apply_masks()
        super().save_own_variables(store)

    def compute_output_shape(self, *shapes: Any, **named: Any) -> Any:
        """Gives that of the layer inside."""
        return self.layer.compute_output_shape(*shapes, **named)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Traces `call`, as Keras 3 does for layers that need not know their output shape."""
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def compute_mask(self, *args: Any, **kwargs: Any) -> Any:
        """Gives the sequence mask of the layer inside (nothing to do with pruning)."""
        return self.layer.compute_mask(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Gives the config; that of the layer inside is as it was."""
        config = super().get_config()
        # The layer inside is built by the first call, not before.
        config["layer"].pop("build_config", None)
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> PrunableLayer:
        """Makes the wrapper; tf_keras looks for the class inside by the name in "class_name"."""
        inside = config["layer"]
        if IS_TF_KERAS and inside.get("registered_name"):
            config = {**config, "layer": {**inside, "class_name": inside["registered_name"]}}
        return super().from_config(config, custom_objects)

    def get_build_config(self) -> None:
        """Gives nothing to build from: the first call does."""
        return
