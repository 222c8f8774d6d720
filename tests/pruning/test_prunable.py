import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.errors import UsageError
from tfprune.pruning.kernels import kernels_of
from tfprune.pruning.prunable import describe, select
from tfprune.pruning.pruner import prune
from tfprune.pruning.units import live_units

layers = keras.layers


def names(model, *args):
    return [p.name for p in select(model, *args)]


@pytest.mark.parametrize(
    ("group", "exclude", "expected"),
    [
        (None, (), ["conv1", "conv2", "fc1"]),
        ("all", (), ["conv1", "conv2", "fc1"]),
        ("conv", (), ["conv1", "conv2"]),
        ("fc", (), ["fc1"]),
        ("fc2", (), ["fc2"]),
        (["fc1", "conv1"], (), ["conv1", "fc1"]),
        (["fc", "fc2"], (), ["fc1", "fc2"]),
        ("*1", (), ["conv1", "fc1"]),
        ("fc*", (), ["fc1"]),
        ("all", "conv1", ["conv2", "fc1"]),
        ("all", ["conv", "fc2"], ["fc1"]),
        (("conv",), "*2", ["conv1"]),
    ],
)
def test_groups_by_word_name_and_wildcard(lenet, group, exclude, expected):
    assert names(lenet, group, exclude) == expected


def test_nested_layers_are_named_by_path_and_heads_left_out(branched):
    assert names(branched) == ["block/conv1", "shared", "fc1"]
    assert names(branched, "block/*") == ["block/conv1"]
    keys = [p.key for p in select(branched, "conv")]
    assert keys == ["block/conv1/kernel", "shared/kernel"]


def test_the_output_layer_is_found_behind_a_batch_norm_and_in_a_nested_model():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="fc1"), layers.Dense(2, name="fc2")], name="inner"
    )
    inputs = keras.Input((4,))
    outputs = layers.Softmax()(layers.BatchNormalization()(inner(inputs)))
    assert names(keras.Model(inputs, outputs)) == ["inner/fc1"]


@pytest.mark.parametrize(
    ("group", "exclude", "message"),
    [
        ("conv3", (), "'conv3' has weights to prune. Possible names: conv1, conv2, fc1, fc2; or"),
        ("bn1", (), "'bn1' has weights"),
        (["conv1", "pool1"], (), "'pool1' has weights"),
        ("z*", (), r"'z\*' has weights"),
        ("all", "conv9", "exclude: no layer called 'conv9'"),
        ("conv", "conv", "no layer is left"),
        ("embedding", (), "no layer is left to prune. Received: layers='embedding'"),
        ([], (), "no layer is left"),
        ([3], (), "layers must be names"),
    ],
)
def test_unusable_groups_list_the_possible(lenet, group, exclude, message):
    with pytest.raises(UsageError, match=message):
        select(lenet, group, exclude)


def test_a_model_without_prunable_layers_says_so():
    model = keras.Sequential([keras.Input((4,)), layers.ReLU()])
    with pytest.raises(UsageError, match="the model has no prunable layer"):
        select(model)


def test_embeddings_and_depthwise_convolutions_only_when_asked_for():
    inputs = keras.Input((8,), dtype="int32")
    x = layers.Reshape((4, 4, 2))(layers.Embedding(10, 4, name="words")(inputs))
    x = layers.DepthwiseConv2D(2, name="depth")(x)
    x = layers.Flatten()(layers.SeparableConv2D(3, 2, name="separable")(x))
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    separable = ["separable/depthwise_kernel", "separable/pointwise_kernel"]
    assert names(model) == names(model, "*") == separable[1:]
    assert names(model, "depthwise") == ["depth", separable[0]]
    assert names(model, ["embedding", "depth"]) == ["words", "depth"]
    assert [p.key for p in select(model, "separable")] == separable
    kinds = ["embedding", "depthwise", "depthwise", "conv", "fc"]
    assert [i.kind for i in describe(model)] == kinds


@pytest.mark.parametrize(
    ("group", "exclude", "expected"),
    [
        (["conv", "depthwise"], "block1/*", ["block2/depth"]),
        (["conv", "depthwise"], "block1", ["block2/depth"]),
        ("depthwise", "*/depth", []),
        (["conv", "depthwise"], "all", []),
        ("conv", "block2/depth*", ["block1/conv"]),  # it was not in the group
        ("depthwise", "conv", ["block1/depth", "block2/depth"]),
    ],
)
def test_what_is_excluded_may_be_of_any_kind(group, exclude, expected):
    def block(number, *inside):
        return keras.Sequential([keras.Input((6, 6, 2)), *inside], name=f"block{number}")

    first = block(1, layers.Conv2D(2, 1, name="conv"), layers.DepthwiseConv2D(1, name="depth"))
    second = block(2, layers.DepthwiseConv2D(1, name="depth"))
    ends = [layers.Flatten(), layers.Dense(2, name="out")]
    model = keras.Sequential([keras.Input((6, 6, 2)), first, second, *ends])
    if expected:
        assert names(model, group, exclude) == expected
    else:
        with pytest.raises(UsageError, match="no layer is left to prune"):
            select(model, group, exclude)


LAYERS = [
    (layers.Conv1D(3, 2), (5, 2), (2, 2, 3), "conv"),
    (layers.Conv2D(4, 2, groups=2), (5, 5, 2), (2, 2, 1, 4), "conv"),
    (layers.Conv3D(3, 2), (3, 3, 3, 2), (2, 2, 2, 2, 3), "conv"),
    (layers.Conv1DTranspose(3, 2), (5, 2), (2, 3, 2), "conv"),
    (layers.Conv2DTranspose(3, 2), (5, 5, 2), (2, 2, 3, 2), "conv"),
    (layers.Conv3DTranspose(3, 2), (3, 3, 3, 2), (2, 2, 2, 3, 2), "conv"),
    (layers.SeparableConv1D(3, 2), (5, 2), (1, 2, 3), "conv"),
    (layers.SeparableConv2D(3, 2), (5, 5, 2), (1, 1, 2, 3), "conv"),
    (layers.DepthwiseConv1D(2, depth_multiplier=3), (5, 2), (2, 2, 3), "depthwise"),
    (layers.DepthwiseConv2D(2, depth_multiplier=3), (5, 5, 2), (2, 2, 2, 3), "depthwise"),
    (layers.Dense(3), (2,), (2, 3), "fc"),
    (layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"), (5, 2), (2, 3), "fc"),
    (layers.EinsumDense("abc,cde->abed", (None, 3, 2), bias_axes="ed"), (5, 2), (2, 2, 3), "fc"),
]


@pytest.mark.parametrize(
    ("layer", "shape", "kernel_shape", "kind"), LAYERS, ids=lambda v: type(v).__name__
)
def test_a_dead_unit_of_every_kind_of_layer_gives_only_its_bias(layer, shape, kernel_shape, kind):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    *_, kernel = kernels_of(layer)
    variable, bias = getattr(layer, kernel.attribute), getattr(layer, kernel.bias)
    assert (tuple(variable.shape), kernel.kind) == (kernel_shape, kind)
    # Kill one weight after the other until live_units calls a first unit dead.
    rng = np.random.default_rng(0)
    mask = np.ones(kernel_shape, bool)
    for index in rng.permutation(mask.size):
        mask.ravel()[index] = False
        alive = live_units(layer, kernel, mask)
        if not alive.all():
            break
    assert mask.any() and alive.shape == tuple(bias.shape)
    variable.assign(np.where(mask, rng.random(mask.shape) + 1, 0))
    bias.assign(np.full(bias.shape, 5.0))
    # Positive inputs and weights: a unit gives 5 everywhere if, and only if, it is dead.
    outputs = np.asarray(model(rng.random((2, *shape)).astype(np.float32) + 1))
    only_bias = (outputs.reshape(-1, *alive.shape) == 5.0).all(axis=0)
    assert only_bias.any()
    np.testing.assert_array_equal(only_bias, ~alive)


def test_units_that_cannot_be_told_from_the_kernel():
    embedding = layers.Embedding(4, 2)
    embedding.build((None,))
    assert live_units(embedding, kernels_of(embedding)[0], np.zeros((4, 2), bool)) is None
    einsum = layers.EinsumDense("abc,cd->abd", (5, 3), bias_axes="b")
    einsum.build((None, 5, 2))
    assert live_units(einsum, kernels_of(einsum)[0], np.zeros((2, 3), bool)) is None


class Twice(layers.Layer):
    """A custom layer with two kernels."""

    prunable_weights = ("first", "second")
    first_constraint = second_constraint = None

    def build(self, input_shape):
        for name in self.prunable_weights:
            constraint = getattr(self, f"{name}_constraint")
            setattr(self, name, self.add_weight(name=name, shape=(4, 4), constraint=constraint))

    def call(self, inputs):
        return inputs @ self.first @ self.second


def test_a_custom_layer_declares_its_kernels():
    model = keras.Sequential([keras.Input((4,)), Twice(name="twice"), layers.Dense(2, name="out")])
    assert names(model) == ["twice/first", "twice/second"]
    assert names(model, "twice") == ["twice/first", "twice/second"]
    pruned = prune(model, 0.5)
    assert sum(i.kept for i in describe(pruned)) == 16 + 8


def test_the_layer_table(mlp):
    kernel = np.arange(-12, 12, dtype=np.float32).reshape(4, 6)  # one zero
    mlp.layers[0].kernel.assign(kernel)
    first, second, third = describe(mlp)
    assert (first.name, first.kind, first.shape, first.size) == ("fc1", "fc", (4, 6), 24)
    assert (first.kept, first.sparsity, first.threshold, first.pruned) == (23, 1 / 24, 1.0, True)
    assert (second.kept, second.sparsity, second.threshold, second.pruned) == (30, 0, None, False)
    assert third.name == "fc3"
    # 12 of 24 go: all of |w| <= 5 (11 values), and of -6 and 6 the one that stands first.
    row = describe(prune(mlp, 0.5, layers="fc1"))[0]
    assert (row.kept, row.sparsity, row.threshold, row.pruned) == (12, 0.5, 6.0, True)


def test_a_kept_weight_that_is_zero_by_chance_is_not_taken_for_removed(mlp):
    kernel = np.arange(-12, 12, dtype=np.float32).reshape(4, 6)  # one zero
    mlp.layers[0].kernel.assign(kernel)
    first, second, _ = describe(prune(mlp, 0.5, layers="fc2"))
    assert (first.kept, first.sparsity, first.threshold, first.pruned) == (24, 0, None, False)
    assert (second.kept, second.pruned) == (15, True)
    first, second, _ = describe(prune(mlp, 0.0, layers="fc1"))
    assert (first.kept, first.threshold, first.pruned) == (24, 0.0, True)
    assert (second.kept, second.pruned) == (30, False)
