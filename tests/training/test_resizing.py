import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.data import Split
from tfprune.errors import UsageError
from tfprune.training.checkpoint import CheckpointFolder
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.loop import Trainer
from tfprune.training.plan import Plan
from tfprune.training.resizing import Resizing, resized

RNG = np.random.default_rng(0)
UNIT = Normalization((1 / 255,), (0.0,))


def network(side=8):
    """One whose features are 1 x 1 at any side up to 8."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((side, side, 1)),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.MaxPooling2D(4, padding="same"),
            layers.AveragePooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dense(2),
        ],
        name="pools",
    )


def weights_after(folder, model, images, labels, after_epoch=lambda record: None, **changes):
    plan = Plan(
        **{
            "stage": "dense",
            "draws": "dense",
            "epochs": 1,
            "batch_size": 8,
            "rate": PiecewiseConstant(0.02),
            "optimizer": "sgd",
            "weight_decay": 0.01,
            "label_smoothing": 0.0,
            "augmentation": Augmentation(),
            "seed": 5,
        }
        | changes
    )
    checkpoints = CheckpointFolder(folder, "dense")
    train = Split(images, labels)
    Trainer(model, plan, train, UNIT, checkpoints, "mark", show_progress=False).run(
        lambda: {}, after_epoch
    )
    return model.get_weights()


def test_each_epoch_has_its_side():
    resizing = Resizing(((16, 2), (24, 1)))
    assert [resizing.side_at(epoch) for epoch in range(5)] == [16, 16, 24, 0, 0]
    assert Resizing().side_at(0) == 0


def test_a_smaller_image_holds_means_over_areas():
    images = np.array([[[0, 10, 20, 30], [2, 12, 22, 32], [4, 4, 8, 8], [4, 4, 8, 8]]], np.uint8)
    half = resized(tf.constant(images[..., None]), 2)
    np.testing.assert_array_equal(half[0, ..., 0], [[6, 26], [4, 8]])
    assert resized(tf.constant(images[..., None]), 0).dtype == tf.uint8


def test_training_at_a_side_is_training_on_images_of_that_side(tmp_path):
    small = RNG.integers(0, 255, (32, 4, 4, 1)).astype(np.uint8)
    large = small.repeat(2, axis=1).repeat(2, axis=2)  # whose means over areas are exact
    labels = RNG.integers(0, 2, 32).astype(np.int32)
    expected = weights_after(tmp_path / "small", network(4), small, labels)
    found = weights_after(
        tmp_path / "large", network(), large, labels, resizing=Resizing(((4, 1),))
    )
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-6)


def test_later_epochs_train_at_full_size_and_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    images = RNG.integers(0, 255, (32, 8, 8, 1)).astype(np.uint8)
    labels = RNG.integers(0, 2, 32).astype(np.int32)
    resizing = Resizing(((3, 1), (4, 1)))
    whole = weights_after(
        tmp_path / "whole", network(), images, labels, epochs=4, resizing=resizing
    )
    trained = []
    for epochs in (1, 3, 4):  # each resumes the one before: a plan's epochs are not in its mark
        parts = weights_after(
            *(tmp_path / "parts", network(), images, labels, trained.append),
            epochs=epochs,
            resizing=resizing,
        )
    assert [record["epoch"] for record in trained] == [1, 2, 3, 4]
    for left, right in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(left, right)
    full = weights_after(tmp_path / "full", network(), images, labels, epochs=4)
    assert any((left != right).any() for left, right in zip(full, whole, strict=True))


def test_a_side_that_the_model_does_not_take_is_refused():
    model = network()
    Resizing(((4, 1), (7, 2))).check(model)
    with pytest.raises(UsageError, match="8 x 8 pixels do not become smaller at a side of 8"):
        Resizing(((8, 1),)).check(model)
    flat = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(UsageError, match="does not take images of 4 x 4 pixels"):
        Resizing(((4, 1),)).check(flat)


def test_a_side_at_which_taps_see_padding_alone_is_warned_of(caplog):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.MaxPooling2D(4, padding="same"),
            layers.Conv2D(2, 3, padding="same", name="late"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    Resizing(((5, 1),)).check(model)  # a map of 2 x 2 pixels, which all taps reach
    assert not caplog.messages
    Resizing(((4, 1),)).check(model)  # of 1 x 1, which the one in the middle reaches
    assert "images of 4 pixels a side are too small for late: some of" in caplog.text
