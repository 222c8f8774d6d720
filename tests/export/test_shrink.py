"""What is taken out is what can be, and the outputs stay what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shrinking import chain, checked, dead, drawn, edit, images, outputs, units, zero

from tfprune.backend import keras
from tfprune.errors import UsageError
from tfprune.export.audit import audit
from tfprune.export.shrink import shrink, shrink_masks, shrink_with_report
from tfprune.export.tflite import export_tflite, run_tflite
from tfprune.models import build
from tfprune.pruning.loading import load_model
from tfprune.pruning.pruner import get_masks, prune, set_masks, strip

layers = keras.layers


def test_lenet5() -> None:
    model = drawn(build("lenet5", (28, 28, 1), 10))
    dead(model, "conv1", [0, 3])
    dead(model, "conv2", [1, 2, 9])
    dead(model, "fc1", range(10))
    shrunk = checked(model)
    assert units(shrunk) == {"conv1": 4, "conv2": 13, "fc1": 110, "fc2": 84, "fc3": 10}
    # 24 x 24 and 8 x 8 pixels; the last pool leaves 4 x 4.
    assert [layer.macs for layer in shrunk.layers] == [
        (150 * 576, 4 * 25 * 576),
        (2400 * 64, 13 * 4 * 25 * 64),
        (256 * 120, 13 * 16 * 110),
        (120 * 84, 110 * 84),
        (840, 840),
    ]
    assert shrunk.macs == (281_640, 173_760)
    assert shrunk.parameters == (44_426, 34_581) == (model.count_params(), 34_581)
    assert shrunk.model.count_params() == 34_581
    assert shrunk.model.name == "lenet5"
    lines = str(shrunk).splitlines()
    assert lines[1].split() == [
        *("conv1", "6", "->", "4", "156", "->", "104", "86,400", "->", "57,600"),
    ]
    assert lines[-1].split()[0] == "lenet5" and len(lines) == 7


def test_a_pruned_model_its_masks_and_its_tflite_file(tmp_path: Path) -> None:
    wrapped = prune(drawn(build("lenet5", (16, 16, 1), 3)), 0.5, criterion="random")
    masks = get_masks(wrapped)
    masks = {key: mask for key, mask in masks.items() if key.endswith("kernel")}
    masks["conv1/kernel"][..., [1, 5]] = False
    masks["fc1/kernel"][:, 7:] = False
    set_masks(wrapped, masks)
    shrunk = checked(wrapped)
    # conv2 has one pixel left, and filters of it may have lost all of the seven that read them.
    read = int(masks["fc1/kernel"].any(axis=1).sum())
    assert units(shrunk) == {"conv1": 4, "conv2": read, "fc1": 7, "fc2": 84, "fc3": 3}
    small = shrink_masks(get_masks(wrapped), shrunk.indices)
    assert small["conv2/kernel"].shape == (5, 5, 4, read) and small["fc1/bias"].shape == (7,)
    np.testing.assert_array_equal(small["fc2/kernel"], masks["fc2/kernel"][:7])
    assert audit(shrunk.model, small).verdict == "ok"
    assert audit(shrunk.model, get_masks(wrapped)).verdict == "failed"
    # The shrunk model has no weight but those of the stripped one.
    for name, weights in {"conv2": "conv2/kernel", "fc1": "fc1/kernel"}.items():
        kept = np.array(strip(wrapped).get_layer(name).kernel)
        for axis, indices in shrunk.indices[weights].items():
            kept = kept.take(indices, axis)
        np.testing.assert_array_equal(kept, shrunk.model.get_layer(name).kernel)

    path = export_tflite(shrunk.model, tmp_path / "small.tflite")
    inputs = images(wrapped)
    expected = outputs(wrapped, inputs)[0]
    assert np.abs(run_tflite(path, inputs[0]) - expected).max() <= 1e-5 * np.abs(expected).max()
    shrunk.model.save(tmp_path / "small.keras")
    assert audit(tmp_path / "small.keras", small).verdict == "ok"
    loaded = load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(outputs(loaded, inputs)[0], outputs(shrunk.model, inputs)[0])


def test_indices_through_batch_norm_pool_and_flatten() -> None:
    model = chain(
        layers.Conv2D(3, 3, name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Dropout(0.5),
        layers.Flatten(),
        layers.Dense(2, name="fc"),
        shape=(6, 6, 1),
    )
    dead(model, "conv", [1])
    edit(model, "bn", gamma=zero(1), beta=zero(1))
    shrunk = checked(model)
    wanted = {
        **{f"bn/{v}": {0: [0, 2]} for v in ("gamma", "beta", "moving_mean", "moving_variance")},
        "conv/kernel": {3: [0, 2]},
        "conv/bias": {0: [0, 2]},
        # Four pixels of three channels each, the channels next to each other.
        "fc/kernel": {0: [0, 2, 3, 5, 6, 8, 9, 11]},
    }
    found = {k: {a: list(i) for a, i in axes.items()} for k, axes in shrunk.indices.items()}
    assert found == wanted
    rows = np.array(model.get_layer("fc").kernel)[wanted["fc/kernel"][0]]
    np.testing.assert_array_equal(shrunk.model.get_layer("fc").kernel, rows)


def test_what_no_consumer_reads_goes_and_kills_upstream() -> None:
    fc = [layers.Dense(n, activation="relu", name=f"fc{i}") for i, n in enumerate((5, 4, 3))]
    model = chain(*fc, layers.Dense(2, name="out"))
    edit(model, "fc2", kernel=lambda w: w.__setitem__(1, 0.0))  # nobody reads unit 1 of fc1
    edit(model, "fc1", kernel=lambda w: w.__setitem__((3, [0, 2, 3]), 0.0))  # 3 of fc0: it alone
    assert units(checked(model)) == {"fc0": 4, "fc1": 3, "fc2": 3, "out": 2}


def test_what_reads_only_dead_units_dies_downstream() -> None:
    fc = [layers.Dense(4, activation="relu", use_bias=False, name=f"fc{i}") for i in range(3)]
    model = chain(*fc, layers.Dense(2, name="out"))
    dead(model, "fc0", [0, 1])
    edit(model, "fc1", kernel=lambda w: w.__setitem__((slice(2, 4), 3), 0.0))
    edit(model, "fc2", kernel=lambda w: w.__setitem__((slice(0, 3), 2), 0.0))
    assert units(checked(model)) == {"fc0": 2, "fc1": 3, "fc2": 3, "out": 2}


def test_a_loop_of_units_that_only_feed_each_other_goes() -> None:
    inputs = keras.Input((4,))
    x = layers.Dense(3, name="stem")(inputs)
    x = layers.Add()([x, layers.Dense(3, name="block")(x)])
    model = drawn(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    edit(model, "out", kernel=lambda w: w.__setitem__(2, 0.0))
    edit(model, "block", kernel=lambda w: w.__setitem__((2, [0, 1]), 0.0))
    assert units(checked(model)) == {"stem": 2, "block": 2, "out": 2}


def test_a_layer_keeps_one_unit_and_the_output_all() -> None:
    fc = [layers.Dense(3, activation="relu", name=f"fc{i}") for i in range(2)]
    model = chain(*fc, layers.Dense(3, name="out"), layers.Activation("softmax"))
    dead(model, "fc1", range(3))
    dead(model, "out", [1], bias=1.0)
    assert units(checked(model)) == {"fc0": 1, "fc1": 1, "out": 3}


def test_a_minimal_model_stays_as_it_is() -> None:
    model = drawn(build("lenet300_100", (4, 4, 1), 3))
    shrunk = checked(model)
    assert shrunk.model is not model and not shrunk.indices
    assert shrunk.parameters[0] == shrunk.parameters[1]
    for old, new in zip(model.get_weights(), shrunk.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_shared_layers_and_several_outputs() -> None:
    left, right = keras.Input((4,)), keras.Input((4,))
    relu, shared = layers.ReLU(), layers.Dense(3, name="shared")
    a = relu(layers.Dense(5, name="a")(left))
    b = relu(layers.Dense(5, name="b")(right))
    hidden = layers.Dense(4, name="hidden")(layers.Concatenate()([shared(a), shared(b), a]))
    model = drawn(keras.Model([left, right], [layers.Dense(2, name="out")(hidden), hidden]))
    for name, unit in (("a", 0), ("b", 1), ("shared", 2), ("hidden", 3)):
        dead(model, name, [unit])
    assert units(checked(model)) == {"a": 5, "b": 5, "shared": 3, "hidden": 4, "out": 2}
    # Without the shared consumer the same relu lets units through, each call for itself.
    inputs = keras.Input((4,))
    a = relu(layers.Dense(5, name="a")(inputs))
    b = relu(layers.Dense(5, name="b")(a))
    model = drawn(keras.Model(inputs, layers.Dense(2, name="out")(b)))
    dead(model, "a", [0])
    dead(model, "b", [1, 2])
    assert units(checked(model)) == {"a": 4, "b": 3, "out": 2}


def test_nested_models_are_shrunk_inside() -> None:
    block = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 1, name="conv1"),
            layers.Conv2D(3, 1, name="conv2"),
        ],
        name="block",
    )
    inputs = keras.Input((6, 6, 1))
    stem = layers.Conv2D(3, 1, name="stem")(inputs)
    x = layers.Flatten()(block(block(stem)))
    model = drawn(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    dead(model, "stem", [0])
    dead(model.get_layer("block"), "conv1", [1, 2])
    dead(model.get_layer("block"), "conv2", [0])
    shrunk = checked(model)
    assert units(shrunk) == {"stem": 3, "block/conv1": 2, "block/conv2": 3, "out": 2}
    masks = {"block/conv2/kernel": np.ones((1, 1, 4, 3), bool), "out/bias": np.ones(2, bool)}
    small = shrink_masks(masks, shrunk.indices)
    assert audit(shrunk.model, small).verdict == "ok"
    assert small["block/conv2/kernel"].shape == (1, 1, 2, 3)
    assert shrunk.layers[1].macs == (2 * 12 * 36, 2 * 6 * 36)


def test_images_of_any_size() -> None:
    model = chain(
        layers.Conv2D(3, 3, name="conv"),
        layers.GlobalMaxPooling2D(),
        layers.Dense(2, name="out"),
        shape=(None, None, 1),
    )
    dead(model, "conv", [2], bias=1.0)
    shrunk = shrink_with_report(model)
    assert units(shrunk) == {"conv": 2, "out": 2}
    assert shrunk.macs is None and str(shrunk).splitlines()[-1].endswith("?")
    inputs = [np.random.default_rng(0).normal(size=(2, 7, 9, 1)).astype(np.float32)]
    np.testing.assert_allclose(
        outputs(shrunk.model, inputs)[0], outputs(model, inputs)[0], rtol=1e-5, atol=1e-5
    )


def test_vgg16_with_half_of_its_filters() -> None:
    model = build("vgg16_bn", (32, 32, 3), 4)
    rng = np.random.default_rng(0)
    for i in range(1, 14):
        width = model.get_layer(f"conv{i}").filters
        killed = rng.permutation(width)[: width // 2]
        dead(model, f"conv{i}", killed)
        edit(model, f"bn{i}", gamma=zero(killed), beta=zero(killed))
    shrunk = shrink_with_report(model)
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    found = units(shrunk)
    assert [found[f"conv{i}"] for i in range(1, 14)] == [width // 2 for width in widths]
    inputs = images(model, 2)
    expected = outputs(model, inputs)[0]
    difference = np.abs(outputs(shrunk.model, inputs)[0] - expected).max()
    assert difference <= 1e-5 * max(1.0, np.abs(expected).max())


def test_layers_made_from_arrays() -> None:
    array = np.ones((4, 3), np.float32)
    fc = layers.Dense(3, kernel_initializer=keras.initializers.Constant(array), name="fc")
    model = chain(fc, layers.Dense(2, name="out"))
    dead(model, "fc", [0])
    assert units(checked(model)) == {"fc": 2, "out": 2}


def test_shrink_gives_the_model_alone() -> None:
    model = chain(layers.Dense(3, name="fc"), layers.Dense(2, name="out"))
    dead(model, "fc", [0])
    small = shrink(model)
    assert small.get_layer("fc").units == 2 and not getattr(small, "optimizer", None)


def test_wrong_arguments_say_what_is_possible() -> None:
    class Subclassed(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(UsageError, match=r"must be a Keras model. Received: .*str"):
        shrink("model.keras")
    with pytest.raises(UsageError, match=r"not built yet.*Received: 'empty'"):
        shrink(keras.Sequential([layers.Dense(2)], name="empty"))
    subclassed = Subclassed()
    subclassed.build((None, 2))
    with pytest.raises(UsageError, match="subclassed model"):
        shrink(subclassed)
    model = chain(layers.Dense(3, name="fc"), layers.Dense(2, name="out"))
    dead(model, "fc", [0])
    indices = shrink_with_report(model).indices
    for shape in ((4, 2), (4,)):
        with pytest.raises(UsageError, match=r"'fc/kernel'.*more than 2 entries on axis 1.*\(4,"):
            shrink_masks({"fc/kernel": np.ones(shape, bool)}, indices)
