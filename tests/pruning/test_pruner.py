import importlib
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.pruner import (
    apply_masks,
    get_masks,
    layer_sparsities,
    load_model,
    prune,
    set_masks,
    strip,
)
from tfprune.pruning.wrapper import PrunableLayer

layers = keras.layers

OPTIMIZERS = [keras.optimizers.Adam]
if IS_TF_KERAS:
    OPTIMIZERS.append(keras.optimizers.legacy.Adam)


def kernel(model, name):
    layer = model
    for part in name.split("/"):
        layer = layer.get_layer(part)
    return getattr(layer, "layer", layer).kernel.numpy()


def zeros(model, *names):
    return [int((kernel(model, name) == 0).sum()) for name in names]


def assert_masked(model, masks):
    """What the masks remove is +0.0, to the bit, and nothing else of the kernels is zero."""
    for key, mask in masks.items():
        path, _, attribute = key.rpartition("/")
        layer = model
        for part in path.split("/"):
            layer = layer.get_layer(part)
        values = getattr(getattr(layer, "layer", layer), attribute).numpy()
        assert not values[~mask].tobytes().strip(b"\0"), key
        if attribute == "kernel":
            assert np.count_nonzero(values) == mask.sum(), key


def data(model, count=10):
    rng = np.random.default_rng(0)
    inputs = [rng.random((count, *i.shape[1:]), np.float32) for i in model.inputs]
    outputs = [rng.random((count, *o.shape[1:]), np.float32) for o in model.outputs]
    return (inputs, outputs) if len(inputs) > 1 else (inputs[0], outputs[0])


def fit(model, optimizer=None, steps=5):
    inputs, outputs = data(model, 2 * steps)
    model.compile(optimizer or keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError())
    model.fit(inputs, outputs, batch_size=2, verbose=0)
    return model


# The published LeNet-5 counts: 150 + 2400 weights.
@pytest.mark.parametrize(("sparsity", "removed"), [(0.5, 1275), (0.7, 1785), (0.9, 2295)])
def test_the_conv_group_loses_exactly_the_published_count(lenet, sparsity, removed):
    before = lenet.get_weights()
    pruned = prune(lenet, sparsity, layers="conv")
    assert sum(zeros(pruned, "conv1", "conv2")) == removed
    magnitudes = [np.abs(kernel(lenet, name)) for name in ("conv1", "conv2")]
    cut = np.sort(np.concatenate([m.ravel() for m in magnitudes]))[removed - 1]
    for name, magnitude in zip(("conv1", "conv2"), magnitudes, strict=True):
        np.testing.assert_array_equal(kernel(pruned, name) == 0, magnitude <= cut)
        assert layer_sparsities(pruned)[name] == (magnitude <= cut).mean()
    for old, new in zip(before, lenet.get_weights(), strict=True):
        assert old.tobytes() == new.tobytes()


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.floats(0, 0.6),
    st.sampled_from(["global", "uniform", "stddev"]),
)
def test_any_dense_group_loses_exactly_its_count(draw_weights, widths, sparsity, allocation):
    model = keras.Sequential(
        [keras.Input((3,))] + [layers.Dense(w, name=f"fc{i}") for i, w in enumerate(widths)]
    )
    draw_weights(model)
    names = [layer.name for layer in model.layers]
    size = sum(kernel(model, name).size for name in names)
    count = int(np.floor(sparsity * size + 0.5))
    if count <= size - len(names):
        pruned = prune(model, sparsity, layers=names, allocation=allocation)
        assert sum(zeros(pruned, *names)) == count
    else:
        with pytest.raises(UsageError, match="can lose at most"):
            prune(model, sparsity, layers=names, allocation=allocation)


def test_explicit_quality_and_random(mlp):
    pruned = prune(mlp, layer_sparsity={"fc1": 0.5, "fc2": 0.9})
    assert zeros(pruned, "fc1", "fc2", "fc3") == [12, 27, 0]
    by_quality = prune(mlp, allocation="stddev", quality=1.0, layers="fc1")
    weights = kernel(mlp, "fc1")
    assert zeros(by_quality, "fc1") == [int((np.abs(weights) < weights.std()).sum())]
    first, same, other = (prune(mlp, 0.5, criterion="random", seed=s) for s in (0, 0, 1))
    assert zeros(first, "fc1", "fc2") != [0, 0]
    np.testing.assert_array_equal(kernel(first, "fc1"), kernel(same, "fc1"))
    assert (kernel(first, "fc1") != kernel(other, "fc1")).any()


def test_the_last_weight_of_a_layer_is_protected_and_the_log_says_so(mlp, caplog):
    mlp.get_layer("fc2").kernel.assign(np.full((6, 5), 1e-3))
    with caplog.at_level("WARNING", logger="absl"):
        pruned = prune(mlp, 0.8, layers="fc")
    assert zeros(pruned, "fc1", "fc2") == [43 - 29, 29]
    assert "last weight" in caplog.text and caplog.text.rstrip().endswith("fc2")


def test_zero_sparsity_wraps_and_removes_nothing(lenet):
    wrapped = prune(lenet, 0.0)
    assert isinstance(wrapped.get_layer("conv1"), PrunableLayer)
    assert all(mask.all() for mask in get_masks(wrapped).values())
    assert layer_sparsities(wrapped) == {"conv1": 0, "conv2": 0, "fc1": 0}
    images, _ = data(lenet)
    np.testing.assert_array_equal(wrapped(images), lenet(images))


def test_branches_shared_layers_and_nested_models_are_copied_and_trained(branched):
    inputs, _ = data(branched)
    wrapped = prune(branched, 0.0)
    for old, new in zip(branched(inputs), wrapped(inputs), strict=True):
        np.testing.assert_array_equal(old, new)
    pruned = prune(branched, 0.5, layers="conv")
    masks = get_masks(pruned)
    assert list(masks) == ["block/conv1/kernel", "block/conv1/bias", "shared/kernel", "shared/bias"]
    assert sum(zeros(pruned, "block/conv1", "shared")) == (72 + 12) // 2
    assert_masked(fit(pruned), masks)
    assert_masked(strip(pruned), masks)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__module__)
def test_fit_keeps_counts_and_zeros(lenet, optimizer):
    pruned = prune(lenet, 0.9)
    masks = get_masks(pruned)
    assert_masked(fit(pruned, optimizer(0.01)), masks)
    for key, mask in get_masks(pruned).items():
        np.testing.assert_array_equal(mask, masks[key])
    assert (kernel(pruned, "fc2") != kernel(lenet, "fc2")).any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__module__)
def test_a_custom_loop_keeps_counts_and_zeros(mlp, optimizer):
    pruned = prune(mlp, 0.7)
    masks = get_masks(pruned)
    adam = optimizer(0.01)
    inputs, outputs = data(pruned)
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((pruned(inputs, training=True) - outputs) ** 2)
        variables = pruned.trainable_variables
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    assert_masked(pruned, masks)


def test_mixed_precision_keeps_counts_and_zeros(draw_weights):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, name="conv1", dtype="mixed_float16"),
            layers.Flatten(),
            layers.Dense(2, name="out"),
        ]
    )
    draw_weights(model)
    pruned = prune(model, 0.5)
    masks = get_masks(pruned)
    assert zeros(pruned, "conv1") == [18]
    images, _ = data(model)
    np.testing.assert_array_equal(prune(model, 0.0)(images), model(images))
    assert_masked(fit(pruned), masks)


def test_embeddings_and_depthwise_convolutions_keep_counts_and_zeros(draw_weights):
    inputs = keras.Input((8,), dtype="int32")
    x = layers.Reshape((4, 4, 2))(layers.Embedding(10, 4, name="words")(inputs))
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, name="depth")(x)
    model = keras.Model(inputs, layers.Dense(1, name="out")(layers.Flatten()(x)))
    pruned = prune(draw_weights(model), 0.5, layers=["words", "depth"])
    masks = get_masks(pruned)
    assert sum(masks[f"{i.name}/{a}"].sum() for i, a in opt_in_kernels(pruned)) == (40 + 16) // 2
    pruned.compile(keras.optimizers.Adam(0.01, use_ema=True), "mse", jit_compile=False)
    words = np.random.default_rng(0).integers(0, 10, (10, 8)).astype(np.int32)
    pruned.fit(words, np.ones((10, 1), np.float32), batch_size=2, verbose=0)
    assert_masked(apply_masks(pruned), masks)


def opt_in_kernels(model):
    """(layer, attribute) of the embedding and the depthwise convolution."""
    depthwise = "depthwise_kernel" if IS_TF_KERAS else "kernel"
    return [(model.get_layer("words"), "embeddings"), (model.get_layer("depth"), depthwise)]


MIRRORED = """
import numpy as np
from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.pruning.pruner import get_masks, layer_sparsities, prune
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10), keras.layers.Dense(1)])
adams = [keras.optimizers.Adam] + ([keras.optimizers.legacy.Adam] if IS_TF_KERAS else [])
for adam in adams:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        pruned = prune(model, 0.9)
        pruned.compile(adam(0.1), "mse")
    before = get_masks(pruned)
    pruned.fit(np.random.rand(16, 4), np.random.rand(16, 1), batch_size=4, verbose=0)
    kernel = pruned.layers[0].layer.kernel
    mirrored = kernel if IS_TF_KERAS else kernel.value
    copies = [copy.numpy() for copy in strategy.experimental_local_results(mirrored)]
    assert len(copies) == 2 and [np.count_nonzero(copy) for copy in copies] == [4, 4], copies
    (key,) = [key for key in before if key.endswith("kernel")]
    assert ((copies[0] != 0) == before[key]).all()
    assert list(layer_sparsities(pruned).values()) == [0.9]
print("held")
"""


def test_zeros_hold_on_the_copies_of_a_mirrored_strategy():
    run = subprocess.run(
        [sys.executable, "-c", MIRRORED],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.endswith("held\n"), run.stderr[-3000:]


def test_pruning_again_keeps_what_was_removed_and_counts_it(lenet):
    first = fit(prune(lenet, 0.5, layers="conv"))
    before = get_masks(first)
    second = prune(first, 0.9, layers="conv")
    assert sum(zeros(second, "conv1", "conv2")) == 2295
    for key, mask in get_masks(second).items():
        assert not (mask & ~before[key]).any()
    third = prune(second, 0.5, layers="fc")
    assert sum(zeros(third, "conv1", "conv2")) == 2295
    assert zeros(third, "fc1") == [kernel(lenet, "fc1").size // 2]
    assert_masked(third, get_masks(third))


def test_pruning_in_place(lenet):
    with pytest.raises(UsageError, match=r"wrapped already: .*plain: conv1, conv2"):
        prune(lenet, 0.5, layers="conv", in_place=True)
    model = prune(lenet, 0.0, layers="conv")
    fit(model)
    for sparsity, removed in ((0.5, 1275), (0.7, 1785)):
        assert prune(model, sparsity, layers="conv", in_place=True) is model
        assert sum(zeros(model, "conv1", "conv2")) == removed
    assert_masked(fit(model), get_masks(model))


def test_removed_weights_are_not_given_back(mlp):
    pruned = prune(mlp, 0.5)
    with pytest.raises(UsageError, match=r"'fc1' has lost \d+ of its 24 weights before"):
        prune(pruned, 0.1)


def dead_unit_masks(model):
    masks = {key: mask.copy() for key, mask in get_masks(model).items() if "conv1/kernel" in key}
    masks["conv1/kernel"][..., 2] = False
    return masks


def test_a_dead_unit_takes_bias_and_batch_norm_with_it_and_outputs_zero(lenet):
    pruned = prune(lenet, 0.0, layers="conv")
    set_masks(pruned, dead_unit_masks(pruned))
    alive = np.arange(6) != 2
    masks = get_masks(pruned)
    for key in ("conv1/bias", "bn1/gamma", "bn1/beta"):
        np.testing.assert_array_equal(masks[key], alive)
    assert masks["bn2/gamma"].all()
    fit(pruned)
    assert_masked(pruned, masks)
    images, _ = data(pruned)
    outputs = keras.Model(pruned.inputs[0], pruned.get_layer("bn1").output)(images).numpy()
    np.testing.assert_array_equal(outputs[..., 2], 0)
    assert (outputs[..., alive] != 0).any()
    # Masks given without the kernel's unit revive what was derived from it.
    set_masks(pruned, {"conv1/kernel": np.ones((5, 5, 1, 6), bool)})
    assert get_masks(pruned)["bn1/beta"].all() and get_masks(pruned)["conv1/bias"].all()


def test_a_batch_norm_that_is_not_alone_is_left_alone():
    inputs = keras.Input((4,))
    first = layers.Dense(3, name="fc1")(inputs)
    second = layers.Dense(3, name="fc2")(inputs)
    normed = layers.BatchNormalization(name="bn1")(first)
    unscaled = layers.BatchNormalization(name="bn2", scale=False)(second)
    summed = layers.Add()([normed, unscaled, first])
    model = keras.Model(inputs, layers.Dense(1, name="out")(summed))
    wrapped = prune(model, 0.0)
    assert [w.name for w in wrapped.layers if isinstance(w, PrunableLayer)] == ["fc1", "fc2"]


def test_masks_of_a_model_round_trip(branched):
    pruned = prune(branched, 0.6)
    copy = prune(branched, 0.0)
    set_masks(copy, get_masks(pruned))
    for key, mask in get_masks(copy).items():
        np.testing.assert_array_equal(mask, get_masks(pruned)[key])
    for old, new in zip(pruned.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"fc9/kernel": np.ones((4, 6), bool)}, "no mask called 'fc9/kernel'; it has: fc1/kernel"),
        ({"fc3/kernel": np.ones((5, 2), bool)}, "no mask called 'fc3/kernel'"),
        ({"fc1/kernel": np.ones((6, 4), bool)}, r"bool array of shape \(4, 6\).*\(6, 4\)"),
        ({"fc1/kernel": np.ones((4, 6))}, "Received: float64"),
    ],
)
def test_masks_that_do_not_fit(mlp, masks, message):
    with pytest.raises(UsageError, match=message):
        set_masks(prune(mlp, 0.0), masks)


def test_apply_masks_zeroes_what_others_wrote(mlp):
    pruned = prune(mlp, 0.5)
    pruned.layers[0].layer.kernel.assign(np.full((4, 6), np.nan))
    pruned.layers[1].layer.kernel.assign(np.full((6, 5), -1.0))
    assert layer_sparsities(pruned)["fc2"] == 0
    assert apply_masks(pruned) is pruned
    assert sum(zeros(pruned, "fc1", "fc2")) == 27
    assert_masked(pruned, {k: m for k, m in get_masks(pruned).items() if k.startswith("fc2")})


def test_strip_gives_a_plain_model_with_the_constraints_of_the_user(draw_weights):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, name="fc1", kernel_constraint="non_neg", trainable=False),
            layers.BatchNormalization(name="bn1"),
            layers.Dense(2, name="fc2"),
        ]
    )
    draw_weights(model)
    pruned = prune(model, 0.5)
    stripped = strip(pruned)
    assert "tfprune" not in json.dumps(stripped.get_config(), default=str)
    assert [type(a) for a in stripped.layers] == [type(a) for a in model.layers]
    assert isinstance(stripped.get_layer("fc1").kernel_constraint, keras.constraints.NonNeg)
    assert stripped.get_layer("fc1").bias_constraint is None
    assert stripped.get_layer("fc1").trainable is False
    assert stripped.name == model.name
    inputs, _ = data(model)
    np.testing.assert_array_equal(stripped(inputs), pruned(inputs))
    np.testing.assert_array_equal(kernel(stripped, "fc1"), kernel(pruned, "fc1"))
    assert layer_sparsities(stripped) == layer_sparsities(pruned) == {"fc1": 0.5}
    # What was written between two steps does not come along.
    pruned.layers[0].layer.kernel.assign(np.ones((4, 6)))
    assert zeros(strip(pruned), "fc1") == [12]


def test_the_constraint_of_the_user_acts_in_training(mlp):
    config = mlp.get_config()
    model = keras.Sequential.from_config(config)
    model.get_layer("fc1").kernel_constraint = keras.constraints.NonNeg()
    constrained = prune(keras.models.clone_model(model), 0.5)
    kernels = get_masks(constrained)["fc1/kernel"]
    trained = kernel(fit(constrained), "fc1")
    assert (trained >= 0).all() and (trained[~kernels] == 0).all()


def test_a_compiled_model_with_a_loss_that_has_no_config_stays_as_it_is(mlp):
    mlp.compile("sgd", lambda truth, guess: tf.reduce_mean((truth - guess) ** 2))
    optimizer = mlp.optimizer
    pruned = prune(mlp, 0.5)
    assert getattr(pruned, "optimizer", None) is None
    assert mlp.optimizer is optimizer
    inputs, outputs = data(mlp)
    mlp.fit(inputs, outputs, verbose=0)


FORMATS = [".keras", ".h5", ""] if IS_TF_KERAS else [".keras", ".h5"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_saved_model_keeps_masks_and_goes_on_training(lenet, tmp_path, suffix):
    pruned = prune(lenet, 0.7, layers="conv")
    set_masks(pruned, dead_unit_masks(pruned))
    fit(pruned, steps=1)
    path = str(tmp_path / f"model{suffix}")
    pruned.save(path)
    loaded = load_model(path)
    masks = get_masks(pruned)
    assert list(get_masks(loaded)) == list(masks)
    for key, mask in get_masks(loaded).items():
        np.testing.assert_array_equal(mask, masks[key])
    images, _ = data(pruned)
    np.testing.assert_allclose(loaded(images), pruned(images), rtol=1e-6)
    assert_masked(loaded, masks)
    assert_masked(fit(loaded), masks)


def test_weights_files_hold_the_masks(branched, tmp_path):
    pruned = prune(branched, 0.6)
    pruned.save_weights(str(tmp_path / "model.weights.h5"))
    copy = prune(branched, 0.0)
    copy.load_weights(str(tmp_path / "model.weights.h5"))
    for key, mask in get_masks(copy).items():
        np.testing.assert_array_equal(mask, get_masks(pruned)[key])
    assert_masked(fit(copy, steps=2), get_masks(pruned))


def test_files_that_cannot_be_loaded(mlp, tmp_path):
    with pytest.raises(TfpruneError, match=r"no model at '.*none\.keras'"):
        load_model(tmp_path / "none.keras")
    good = tmp_path / "good.keras"
    mlp.save(good)
    cut = tmp_path / "cut.keras"
    cut.write_bytes(good.read_bytes()[:3000])
    text = tmp_path / "text.keras"
    text.write_text("hello")
    foreign = tmp_path / "foreign.keras"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hello.txt", "hello")
    (tmp_path / "folder").mkdir()
    for path in (cut, text, foreign, tmp_path / "folder"):
        with pytest.raises(TfpruneError, match=path.name) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


def other_keras():
    return importlib.import_module("keras" if IS_TF_KERAS else "tf_keras")


def test_a_model_or_file_of_the_other_keras_is_refused_with_the_cure(tmp_path):
    other = other_keras()
    model = other.Sequential([other.layers.InputLayer((4,)), other.layers.Dense(2)])
    with pytest.raises(UsageError, match=r"made by .*set TF_USE_LEGACY_KERAS.*before TensorFlow"):
        prune(model, 0.5)
    path = tmp_path / "other.keras"
    model.save(path)
    with pytest.raises(TfpruneError, match=r"was written by .*set TF_USE_LEGACY_KERAS"):
        load_model(path)


class Subclassed(keras.Model):
    """A model whose layers tfprune cannot replace."""

    def __init__(self):
        super().__init__()
        self.fc1 = layers.Dense(2)

    def call(self, inputs):
        return self.fc1(inputs)


def test_models_that_cannot_be_pruned(mlp):
    for function in (lambda m: prune(m, 0.5), strip):
        with pytest.raises(UsageError, match=r"must be a Keras model. Received: builtins\.str"):
            function("mlp")
        with pytest.raises(UsageError, match=r"not built yet .*model\.build\(input_shape\)"):
            function(keras.Sequential([layers.Dense(2)]))
        subclassed = Subclassed()
        subclassed(np.ones((1, 3), np.float32))
        with pytest.raises(UsageError, match=r"subclassed model .*keras\.Sequential or"):
            function(subclassed)
    mlp.get_layer("fc2").kernel.assign(np.full((6, 5), np.nan))
    with pytest.raises(TfpruneError, match="layer 'fc2' cannot be ranked: 30 of 30"):
        prune(mlp, 0.5)


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan"), "half", None])
def test_sparsities_that_are_none(mlp, sparsity):
    with pytest.raises(UsageError, match=r"sparsity.*Received: "):
        prune(mlp, sparsity)


class Closed(layers.Layer):
    """A layer whose config lacks an argument of its constructor."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def get_config(self):
        return super().get_config()

    def call(self, inputs):
        return inputs * self.factor


def test_a_layer_that_cannot_be_copied_is_named():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), Closed(2.0, name="mine"), layers.Dense(2)]
    )
    with pytest.raises(UsageError, match=r"layer 'mine' cannot be copied: its get_config .*Closed"):
        prune(model, 0.5)


def test_a_sequential_model_built_late_can_be_pruned():
    model = keras.Sequential([layers.Dense(4, name="fc1"), layers.Dense(2, name="fc2")])
    model.build((None, 3))
    pruned = prune(model, 0.5)
    assert zeros(pruned, "fc1") == [6]
    assert zeros(strip(pruned), "fc1") == [6]
