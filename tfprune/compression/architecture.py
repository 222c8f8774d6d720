"""A model's architecture as data: Keras's own configuration, of stock classes only.

A configuration names classes, which Keras imports and calls. One that comes out of a file is
not trusted: every class in it has to be one that Keras itself ships, and none of those that
run code or read other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfprune.backend import keras
from tfprune.errors import TfpruneError, UsageError

# Where the stock classes live, by the names Keras writes.
_MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.mixed_precision",
    "keras.regularizers",
)
_PACKAGES = (
    "keras.src.layers.",
    "keras.src.models.",
    "keras.src.ops.",
    "tf_keras.src.engine.",
    "tf_keras.src.layers.",
)
# Values, not classes.
_VALUES = ("__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__")
# These run code or read files that the configuration names.
_REFUSED = ("Lambda", "TFSMLayer", "function", "load_model")
# tf_keras writes `x + y` as a layer that calls a function of TensorFlow by its name.
_OPERATION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
_OPERATIONS = ("__operators__.", "math.", "nn.")
_MORE_OPERATIONS = (
    *("cast", "clip_by_value", "concat", "expand_dims", "identity", "ones_like", "pad"),
    *("reshape", "shape", "slice", "split", "squeeze", "stack", "strided_slice", "tile"),
    *("transpose", "unstack", "where", "zeros_like"),
)


def architecture_of(model: Any) -> dict[str, Any]:
    """The configuration of a built model, as JSON takes it; not how it was compiled.

    Args:
        model: a functional or sequential model of stock Keras layers.

    Raises:
        UsageError: a class in it is not Keras's own, or runs code.
    """
    try:
        config = keras.utils.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UsageError(
            f"model {model.name!r} has no configuration to store: {_cause(error)}"
        ) from error
    config.pop("compile_config", None)
    for foreign in _foreign(config):
        raise UsageError(
            "a .tfprune file holds models of stock Keras layers only, without Lambda. "
            f"Received: {foreign}"
        )
    return config


def build_architecture(config: dict[str, Any]) -> Any:
    """The model of a configuration, with weights as its initializers make them.

    Args:
        config: as `architecture_of` gives it, under the same Keras.

    Raises:
        TfpruneError: a class that is not stock Keras, or no configuration of a model.
    """
    for foreign in _foreign(config):
        raise TfpruneError(f"the model needs what is not stock Keras, or runs code: {foreign}")
    try:
        model = keras.utils.deserialize_keras_object(config, safe_mode=True)
    except Exception as error:  # whatever a configuration can make Keras do
        raise TfpruneError(f"Keras cannot build the stored model: {_cause(error)}") from error
    if not isinstance(model, keras.Model) or not model.built:
        raise TfpruneError(
            f"what is stored is no built model. Received: {config.get('class_name')!r}"
        )
    return model


def _cause(error: Exception) -> str:
    """The first line of an error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _foreign(node: Any) -> Iterator[str]:
    """What in a configuration is not stock Keras, in words."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _foreign(item)
    elif isinstance(node, dict):
        if "class_name" in node and not _is_stock(node):
            name = node.get("name") or (node.get("config") or {}).get("name", "")
            yield f"{node.get('module') or 'no module'}: {node['class_name']} {name}".strip()
        for item in node.values():
            yield from _foreign(item)


def _is_stock(node: dict[str, Any]) -> bool:
    name, module = node["class_name"], node.get("module")
    if not isinstance(name, str) or name in _REFUSED or ">" in name:
        return False
    # Classes registered by their users carry a package: "Package>Name".
    if ">" in str(node.get("registered_name") or ""):
        return False
    if name in _OPERATION_LAYERS:
        function = str(node.get("config", {}).get("function"))
        return function.startswith(_OPERATIONS) or function in _MORE_OPERATIONS
    if module is None:
        return name in _VALUES or hasattr(keras.layers, name)
    return module in _MODULES or str(module).startswith(_PACKAGES)
