"""Quantization-aware training of a pruned model, its zeros kept.

TFMOT rounds weights and activations to eight bits in the forward pass, so that training
makes up for what rounding costs. It is imported here and nowhere else, and knows tf_keras
only. Its prune-preserving scheme keeps zeros of kernels; biases and batch norms of dead
units come back under it. So all masks act here as they do in pruning, as constraints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, tf
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.interpreter import one_line
from tfprune.pruning.constraint import apply_mask, attach_mask
from tfprune.quiet import quiet


def quantize_aware(model: Any, masks: Mapping[str, np.ndarray] | None = None) -> Any:
    """A copy of a model that computes, and is trained, as its int8 TFLite file will compute.

    Args:
        model: a plain tf_keras model, functional or sequential, not nested.
        masks: "conv1/kernel" -> bool array, True = kept, for the weights that stay zero.

    Returns:
        The model to train and then to hand to `export_tflite(..., quantize="qat")`. Its
        ranges are found in training: it has to see some batches.

    Raises:
        UsageError: under Keras 3, or a mask that no variable of the model has.
        TfpruneError: a layer that TFMOT can not quantize, named in its words.
    """
    require_tf_keras()
    with quiet():
        import tensorflow_model_optimization as tfmot

        scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
        quantization = tfmot.quantization.keras
        try:
            annotated = quantization.quantize_annotate_model(model)
            aware = quantization.quantize_apply(annotated, scheme=scheme)
        except (ValueError, RuntimeError, TypeError) as error:
            raise TfpruneError(
                f"TFMOT can not quantize model {model.name!r} in training: {one_line(error)}"
            ) from error
    variables = _variables(aware)
    missing = sorted(set(masks or ()) - set(variables))
    if missing:
        raise UsageError(
            f"a mask must be of a variable of the model: {', '.join(variables)}. "
            f"Received: {', '.join(missing)}"
        )
    for name, mask in (masks or {}).items():
        attach_mask(variables[name], tf.constant(mask))
        apply_mask(variables[name])
    return aware


def is_quantize_aware(model: Any) -> bool:
    """Whether a model is one that `quantize_aware` made."""
    # By name: to ask TFMOT would import it.
    return any(type(layer).__name__.startswith("QuantizeWrapper") for layer in model.layers)


def require_tf_keras() -> None:
    """Refuses quantization-aware training under Keras 3.

    Raises:
        UsageError: this is Keras 3.
    """
    if not IS_TF_KERAS:
        raise UsageError(
            'quantization-aware training ("qat") goes through TFMOT, which knows tf_keras only: '
            "set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported. Received: a model of Keras 3"
        )


def _variables(model: Any) -> dict[str, Any]:
    """The variables of the layers that TFMOT has wrapped, "layer/variable", ranges left out.

    The layers' own attributes do not hold them: in a call TFMOT puts rounded tensors there.
    """
    found = {}
    for wrapper in model.layers:
        inner: Any = getattr(wrapper, "layer", None)
        for variable in wrapper.weights if inner is not None else ():
            layer, _, attribute = variable.name.split(":")[0].rpartition("/")
            if layer.split("/")[-1] == inner.name:
                found[f"{inner.name}/{attribute}"] = variable
    return found
