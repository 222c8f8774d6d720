"""A model's architecture as data: Keras's own configuration, of stock classes only.

A configuration names classes, which Keras imports and calls. One that comes out of a file is
not trusted: every class in it has to be one that Keras itself ships, by the name that Keras
writes, and none of those that run code or read other files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import TfpruneError, UsageError

# Where the public classes live, by the names Keras writes.
_MODULES = (
    "keras",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.mixed_precision",
    "keras.regularizers",
)
# The classes without a public name that ordinary models are made of.
_MODELS = (
    ("keras.src.models.functional", "Functional"),
    ("tf_keras.src.engine.functional", "Functional"),
)
# Keras 3 writes `x + y` as a class of its operations.
_OPERATION_CLASSES = "keras.src.ops."
# Values, not classes.
_VALUES = ("__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__")
# These run code or read files that the configuration names.
_REFUSED = ("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "function")
# tf_keras writes `x + y` as a layer that calls a function of TensorFlow by its name.
_OPERATION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
_OPERATION_MODULES = (None, "tf_keras.src.layers.core.tf_op_layer")
_OPERATIONS = ("__operators__.", "math.", "nn.")
_MORE_OPERATIONS = (
    *("cast", "clip_by_value", "concat", "expand_dims", "identity", "ones_like", "pad"),
    *("reshape", "shape", "slice", "split", "squeeze", "stack", "strided_slice", "tile"),
    *("transpose", "unstack", "where", "zeros_like"),
)

#: Values that a model's variables may have beside those that a file stores: random states.
_STATES = 100_000


def architecture_of(model: Any) -> dict[str, Any]:
    """The configuration of a built model, as JSON takes it; not how it was compiled.

    Args:
        model: a functional or sequential model of stock Keras layers.

    Raises:
        UsageError: a class in it is not Keras's own, runs code, or reads a file.
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
            "a .tfprune file holds models of stock Keras layers only, without Lambda or "
            "vocabularies in other files. "
            f"Received: {foreign}"
        )
    return config


def build_architecture(config: dict[str, Any], values: int) -> Any:
    """The model of a configuration, with weights as its initializers make them.

    Args:
        config: as `architecture_of` gives it, under the same Keras.
        values: how many there are for its variables. A configuration takes a few bytes to ask
            for any amount of memory; it does not get more than is needed for these.

    Raises:
        TfpruneError: a class that is not stock Keras, or no configuration of a model, or one
            of a larger model.
    """
    try:
        foreign = next(_foreign(config), None)
        if foreign is None:
            with tf.variable_creator_scope(_creating_at_most(values + _STATES)):
                model = keras.utils.deserialize_keras_object(config, safe_mode=True)
    except TfpruneError:
        raise
    except Exception as error:  # whatever a configuration can make Keras do
        raise TfpruneError(f"Keras cannot build the stored model: {_cause(error)}") from error
    if foreign is not None:
        raise TfpruneError(
            f"the model needs what is not stock Keras, or runs code, or reads files: {foreign}"
        )
    if not isinstance(model, keras.Model) or not model.built:
        raise TfpruneError(
            f"what is stored is no built model. Received: {config.get('class_name')!r}"
        )
    return model


def _creating_at_most(values: int) -> Callable[..., Any]:
    """A creator of variables that refuses those beyond so many values, before they exist."""
    created = 0

    def create(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        nonlocal created
        created += math.prod(_shape_of(**kwargs))
        if created > values:
            raise TfpruneError(
                f"the stored model is larger than the weights beside it: {created} values and "
                f"more, where at most {values} are expected"
            )
        return next_creator(**kwargs)

    return create


def _shape_of(initial_value: Any = None, shape: Any = None, **_: Any) -> tuple[int, ...]:
    """The shape of a variable that is to be created so."""
    if shape is not None:  # tf_keras says
        return tuple(shape)
    if callable(initial_value):
        with tf.Graph().as_default():  # where shapes are known and nothing is computed
            initial_value = initial_value()
    return tuple(getattr(initial_value, "shape", ()))


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
            name = node.get("name") or _config_of(node).get("name", "")
            words = f"{node.get('module') or 'no module'}: {node['class_name']} {name}"
            yield " ".join(words.split())  # one line, whatever the file calls it
        # A lookup layer takes words, or the path of a file that has them.
        if isinstance(node.get("vocabulary"), str):
            yield f"the vocabulary {node['vocabulary']!r}"
        for item in node.values():
            yield from _foreign(item)


def _is_stock(node: dict[str, Any]) -> bool:
    name, module = node["class_name"], node.get("module")
    # Keras follows dots in a name out of its module. Classes registered by their users carry
    # a package: "Package>Name".
    if not isinstance(name, str) or not name.isidentifier() or name in _REFUSED:
        return False
    if node.get("registered_name") not in (None, name):
        return False
    if name.startswith("__"):
        return name in _VALUES
    if name in _OPERATION_LAYERS:
        function = str(_config_of(node).get("function"))
        known = function.startswith(_OPERATIONS) or function in _MORE_OPERATIONS
        return known and module in _OPERATION_MODULES
    if module is None or module in _MODULES:
        return _is_public(name, module or "keras.layers")
    # tf_keras has no such modules, and looks for a nested layer in all that it knows instead.
    is_operation = not IS_TF_KERAS and str(module).startswith(_OPERATION_CLASSES)
    return is_operation or (module, name) in _MODELS


def _is_public(name: str, module: str) -> bool:
    """Whether Keras has a class of that name in a module of its own: "keras.layers"."""
    public = keras
    for part in module.split(".")[1:]:
        public = getattr(public, part, None)
    return isinstance(getattr(public, name, None), type)


def _config_of(node: dict[str, Any]) -> dict[str, Any]:
    config = node.get("config")
    return config if isinstance(config, dict) else {}
