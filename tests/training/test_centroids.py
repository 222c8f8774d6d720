"""Centroids in training: their gradient by hand, and members that stay equal to the bit."""

import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.compression.sharing import share_kernels
from tfprune.data import Split
from tfprune.pruning.pruner import get_masks, prune
from tfprune.training.centroids import Centroids
from tfprune.training.checkpoint import CheckpointFolder
from tfprune.training.distribution import ONE_DEVICE
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.loop import Trainer
from tfprune.training.plan import Plan
from tfprune.training.steps import Steps

layers = keras.layers


def dense(kernel):
    """One dense layer with that kernel."""
    inputs = keras.Input((kernel.shape[0],))
    layer = layers.Dense(kernel.shape[1], use_bias=False, name="fc1")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([kernel])
    return model


def test_the_gradients_of_the_paper_by_hand():
    # Figure 3 of Deep Compression: 4 x 4 weights of four centroids, gradients summed by them.
    members = np.array([[3, 0, 2, 1], [1, 1, 0, 3], [0, 3, 1, 0], [3, 1, 2, 2]]) + 1
    kernel = np.array([-1.0, 0, 1.5, 2], np.float32)[members - 1]
    gradients = np.array(
        [
            [-0.03, -0.01, 0.03, 0.02],
            [-0.01, 0.01, -0.02, 0.12],
            [-0.01, 0.02, 0.04, 0.01],
            [-0.07, -0.02, 0.01, -0.02],
        ],
        np.float32,
    )
    model = dense(kernel)
    centroids = Centroids(model, {"fc1/kernel": members.astype(np.int32)})
    assert np.asarray(centroids.variables[0]).tolist() == [-1, 0, 1.5, 2]
    found = centroids.grouped([tf.constant(gradients)], model.trainable_variables)[0].numpy()
    # The paper prints 0.04, 0.02, 0.04 and -0.03, for centroids 3 to 0.
    np.testing.assert_allclose(found, [-0.03, 0.04, 0.02, 0.04], atol=1e-7)


def test_removed_weights_have_no_part_in_a_sum():
    members = np.array([[0, 1, 2], [2, 0, 1]], np.int32)
    model = dense(np.array([0, 0.5, -2], np.float32)[members])
    centroids = Centroids(model, {"fc1/kernel": members})
    gradient = tf.constant([[9, 0.25, 0.5], [1, 9, -0.75]])
    found = centroids.grouped([gradient], model.trainable_variables)[0].numpy()
    assert found.tolist() == [-0.5, 1.5]


def test_members_take_the_value_of_their_centroid_and_removed_weights_are_zero():
    members = np.array([[0, 1, 2], [2, 0, 1]], np.int32)
    model = dense(np.array([0, 0.5, -2], np.float32)[members])
    centroids = Centroids(model, {"fc1/kernel": members})
    centroids.variables[0].assign([3.0, -4.0])
    centroids.spread(ONE_DEVICE)
    kernel = model.get_layer("fc1").get_weights()[0]
    assert kernel.tolist() == [[0, 3, -4], [-4, 0, 3]] and not np.signbit(kernel[0, 0])
    assert centroids.trained(model.trainable_variables) == centroids.variables


def shared_model():
    """A pruned model with shared weights: (model, members)."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv1"),
            layers.BatchNormalization(name="bn1"),
            layers.Flatten(name="flat"),
            layers.Dense(16, activation="relu", name="fc1"),
            layers.Dense(3, name="logits"),
        ]
    )
    model = prune(model, 0.6)
    return model, share_kernels(model, {"conv": 3, "fc1": 2})


def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 6, 6, 1)).astype(np.uint8)
    return Split(images, (images.sum(axis=(1, 2, 3)) % 3).astype(np.int32))


def plan(optimizer, epochs=3):
    rate = PiecewiseConstant(1e-3, 0.1, 0, (), 0.0)
    augmentation = Augmentation(0, False, 0, (0,))
    return Plan("share", "share", epochs, 16, rate, optimizer, 0.0, 0.0, augmentation, 0)


def partition(kernel):
    """Which weights have the same value, zeros as 0."""
    return np.unique(kernel, return_inverse=True)[1].reshape(kernel.shape)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_keeps_members_and_masks_exactly(tmp_path, optimizer):
    model, members = shared_model()
    assert list(members) == ["conv1/kernel", "fc1/kernel"]
    masks, before = get_masks(model), dict(named(model))
    trainer = Trainer(
        model,
        plan(optimizer),
        data(),
        Normalization((1 / 255,), (0.0,)),
        CheckpointFolder(tmp_path, "share"),
        "mark",
        show_progress=False,
        members=members,
    )
    trainer.run(lambda: {"test_accuracy": None}, lambda record: None)
    after = dict(named(model))
    for key, member in members.items():
        assert np.array_equal(member != 0, masks[key])
        values = after[key]
        assert not values[member == 0].any() and not np.signbit(values[member == 0]).any()
        for number in range(1, member.max() + 1):
            assert len(np.unique(values[member == number])) == 1
        assert not np.array_equal(values, before[key])
    assert not np.array_equal(after["logits/kernel"], before["logits/kernel"])
    assert len(np.unique(after["logits/kernel"])) > 8  # shared nothing


def named(model):
    for name in ("conv1", "fc1", "logits"):
        layer = model.get_layer(name)
        yield f"{name}/kernel", np.array(getattr(layer, "layer", layer).kernel)


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path):
    """From a checkpoint's arrays another process gets the same weights."""
    order = np.arange(64, dtype=np.int32).reshape(4, 16)
    rates = np.full(4, 1e-3, np.float32)
    normalization = Normalization((1 / 255,), (0.0,))

    def steps():
        model, members = shared_model()
        return model, Steps(model, plan("adam"), data(), normalization, ONE_DEVICE, members)

    model, whole = steps()
    whole.begin(None)
    whole.run(order[:2], rates[:2], 0)
    held = whole.read()
    whole.run(order[2:], rates[2:], 2)
    other, resumed = steps()
    resumed.begin(held)
    resumed.run(order[2:], rates[2:], 2)
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_kernels_that_do_not_train_are_left_alone():
    model, members = shared_model()
    model.get_layer("fc1").trainable = False
    centroids = Centroids(model, members)
    assert len(centroids.variables) == 1
    assert len(centroids.trained(model.trainable_variables)) == len(model.trainable_variables)
