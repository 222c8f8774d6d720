"""Random graphs with random dead units: shrinking changes no output, and exports agree."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shrinking import checked, drawn, images, outputs

from tfprune.backend import keras
from tfprune.export.shrink import shrink
from tfprune.export.tflite import export_tflite, run_tflite

layers = keras.layers
_SIDE = 6

#: What a step does to one of the tensors so far, or to two of them.
_STEPS = ("conv", "conv_same", "depthwise", "bn", "relu", "tanh", "pool", "add", "concatenate")

graphs = st.fixed_dictionaries(
    {
        "steps": st.lists(
            st.tuples(
                st.sampled_from(_STEPS), st.integers(0, 7), st.integers(0, 7), st.integers(1, 5)
            ),
            min_size=1,
            max_size=7,
        ),
        "global_pool": st.booleans(),
        "hidden": st.integers(0, 5),
        "seed": st.integers(0, 2**16),
        "biased": st.booleans(),
    }
)
_SLOW: Any = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
    "derandomize": True,
}


def build(graph: dict[str, Any]) -> keras.Model:
    """A network of convolutions in branches, and a dense head; every tensor may be used again."""
    inputs = keras.Input((_SIDE, _SIDE, 2))
    tensors = [layers.Conv2D(4, 1, name="stem")(inputs)]
    for number, (step, first, second, width) in enumerate(graph["steps"]):
        x, name = tensors[first % len(tensors)], f"{step}{number}"
        side = x.shape[1]
        if step == "conv":
            x = layers.Conv2D(width, min(3, side), name=name)(x)
        elif step == "conv_same":
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        elif step == "depthwise":
            x = layers.DepthwiseConv2D(min(2, side), name=name)(x)
        elif step == "bn":
            x = layers.BatchNormalization(name=name)(x)
        elif step in ("relu", "tanh"):
            x = layers.Activation(step, name=name)(x)
        elif step == "pool":
            x = layers.MaxPooling2D(2, padding="same", name=name)(x)
        else:
            shape = tuple(x.shape) if step == "add" else tuple(x.shape)[:-1]
            others = [t for t in tensors if tuple(t.shape)[: len(shape)] == shape]
            y = others[second % len(others)]
            x = (layers.Add if step == "add" else layers.Concatenate)(name=name)([x, y])
        tensors.append(x)
    x = (layers.GlobalAveragePooling2D() if graph["global_pool"] else layers.Flatten())(tensors[-1])
    if graph["hidden"]:
        x = layers.Dense(graph["hidden"], activation="relu", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(3, name="out")(x))
    return kill_some(drawn(model, graph["seed"]), graph["seed"], graph["biased"])


def kill_some(model: keras.Model, seed: int, biased: bool) -> keras.Model:
    """Takes all weights of random units, their biases too unless `biased`, and other weights."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        if type(layer) is layers.BatchNormalization:
            dead = rng.random(weights[0].shape) < 0.3
            weights[0][dead] = 0.0
            weights[1][dead & (rng.random(dead.shape) < 0.7)] = 0.0
        else:
            kernel, bias = weights
            kernel *= rng.random(kernel.shape) < 0.8
            # Depthwise kernels are (h, w, channels, multiplier), all others end in the units.
            dead = rng.random(bias.shape) < 0.4
            units = (slice(None),) * 2 + (dead,) if "depthwise" in layer.name else (..., dead)
            kernel[units] = 0.0
            if not biased:
                bias[dead] = 0.0
        layer.set_weights(weights)
    return model


@settings(max_examples=25, **_SLOW)
@given(graphs)
def test_outputs_stay_and_nothing_is_left_to_take_out(graph: dict[str, Any]) -> None:
    checked(build(graph))


@settings(max_examples=8, **_SLOW)
@given(graphs)
def test_exported_files_load_and_agree(graph: dict[str, Any]) -> None:
    model = build(graph)
    given_images = images(model, 5)
    expected = outputs(model, given_images)[0]
    scale = max(1.0, float(np.abs(expected).max()))
    with tempfile.TemporaryDirectory() as folder:
        for each in (model, shrink(model)):
            path = export_tflite(each, Path(folder) / "m.tflite")
            found = run_tflite(path, given_images[0])
            assert np.abs(found - expected).max() <= 1e-4 * scale
