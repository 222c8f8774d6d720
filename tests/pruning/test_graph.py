from tfprune.backend import keras
from tfprune.pruning.graph import (
    connections,
    followers,
    leaf_layers,
    nested_models,
    origin,
    output_layers,
    unwrapped,
)
from tfprune.pruning.pruner import prune
from tfprune.pruning.wrapper import PrunableLayer

layers = keras.layers


def names(pairs):
    """The pairs by name, without those that start at an input; None stands for the outputs."""
    return sorted(
        (producer.name, consumer and consumer.name)
        for producer, consumer in pairs
        if not isinstance(producer, layers.InputLayer)
    )


def test_leaf_layers_are_named_by_path_each_once(branched):
    paths = [path for path, _ in leaf_layers(branched)]
    known = [path for path in paths if "input" not in path and path not in ("left", "right")]
    assert known[:4] == ["block/conv1", "shared", "sum", "flat"]
    assert sorted(known[4:]) == ["fc1", "head1", "head2", "prob"]


def test_output_layers_have_kernels(branched):
    assert {layer.name for layer in output_layers(branched)} == {"head1", "head2"}


def test_the_origin_of_a_tensor_is_a_layer_and_what_it_was_given(branched):
    layer, inputs = origin(branched.outputs[1])
    assert layer.name == "prob" and [origin(t)[0].name for t in inputs] == ["head2"]
    layer, inputs = origin(branched.inputs[0])
    assert isinstance(layer, layers.InputLayer) and inputs == []


def test_connections_are_calls_and_outputs_nested_models_included(branched):
    assert [model.name for model in nested_models(branched)] == ["block"]
    assert names(connections(branched)) == [
        ("block", "shared"),
        ("block", "shared"),
        ("conv1", None),
        ("fc1", "head1"),
        ("flat", "fc1"),
        ("flat", "head2"),
        ("head1", None),
        ("head2", "prob"),
        ("prob", None),
        ("shared", "sum"),
        ("shared", "sum"),
        ("sum", "flat"),
    ]


def test_followers_are_found_plain_and_wrapped(lenet):
    expected = [("bn1", "conv1"), ("bn2", "conv2")]
    assert names(followers(lenet)) == expected
    wrapped = prune(lenet, 0.0)
    assert names(followers(wrapped)) == expected
    for norm, producer in followers(wrapped):
        assert isinstance(norm, PrunableLayer) and isinstance(producer, PrunableLayer)
        assert isinstance(unwrapped(norm), layers.BatchNormalization)
        assert unwrapped(unwrapped(norm)) is unwrapped(norm)


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
