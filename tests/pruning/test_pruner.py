import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned import assert_masked, data, dead_unit_masks, fit, kernel, zeros

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.pruner import (
    apply_masks,
    get_masks,
    layer_sparsities,
    prune,
    set_masks,
    strip,
)
from tfprune.pruning.wrapper import PrunableLayer

layers = keras.layers

OPTIMIZERS = [keras.optimizers.Adam]
if IS_TF_KERAS:
    OPTIMIZERS.append(keras.optimizers.legacy.Adam)


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


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize(
    ("shape", "layer", "channels"),
    [
        ((3, 4), lambda: layers.Dense(3, name="first"), 2),
        ((4, 2), lambda: layers.Conv1D(3, 2, name="first"), 2),
        ((2, 4), lambda: layers.Conv1D(3, 2, data_format="channels_first", name="first"), 1),
    ],
)
def test_a_batch_norm_over_another_axis_keeps_all_of_it(shape, layer, channels, axis):
    """Three units at three places: the shape of the scale does not tell whose it is."""
    ends = [layers.BatchNormalization(axis=axis, name="bn"), layers.Flatten()]
    model = keras.Sequential([keras.Input(shape), layer(), *ends, layers.Dense(2, name="out")])
    pruned = prune(model, 0.0, layers="first")
    dead = np.ones(pruned.get_layer("first").layer.kernel.shape, bool)
    dead[..., 1] = False
    set_masks(pruned, {"first/kernel": dead})
    found = {key: mask.tolist() for key, mask in get_masks(pruned).items() if "bn" in key}
    alive = [True, False, True]
    assert found == ({"bn/gamma": alive, "bn/beta": alive} if axis % 3 == channels else {})


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


def test_weights_that_are_nan_cannot_be_ranked(mlp):
    mlp.get_layer("fc2").kernel.assign(np.full((6, 5), np.nan))
    with pytest.raises(TfpruneError, match="layer 'fc2' cannot be ranked: 30 of 30"):
        prune(mlp, 0.5)


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan"), "half", None])
def test_sparsities_that_are_none(mlp, sparsity):
    with pytest.raises(UsageError, match=r"sparsity.*Received: "):
        prune(mlp, sparsity)
