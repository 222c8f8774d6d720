"""Learning from a teacher: the loss by hand, and what it does to whom."""

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.data import Split
from tfprune.training.checkpoint import CheckpointFolder
from tfprune.training.distillation import Teacher
from tfprune.training.distribution import ONE_DEVICE
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.loop import Trainer
from tfprune.training.plan import Plan
from tfprune.training.resizing import Resizing
from tfprune.training.steps import Steps

layers = keras.layers
NORMALIZATION = Normalization.of("unit", np.zeros((1, 6, 6, 1), np.uint8))


def scaling(factors, *, softmax=False):
    """A model whose logits are its three inputs times `factors`."""
    inputs = keras.Input((1, 1, 3))
    dense = layers.Dense(3, use_bias=False, activation="softmax" if softmax else None)
    model = keras.Model(inputs, dense(layers.Flatten()(inputs)))
    model.set_weights([np.diag(np.asarray(factors, np.float32))])
    return model


def lesson(teacher, student, inputs, weight, temperature, of_labels=7.0):
    inputs = np.asarray(inputs, np.float32).reshape(-1, 1, 1, 3)
    outputs = student(inputs)
    found = Teacher(teacher, weight, temperature).lesson(student)(of_labels, inputs, outputs)
    return float(found)


def test_the_loss_by_hand():
    # Inputs ln [1, 2, 5]: the teacher says softmax(2 ln [1, 2, 5]) = [1, 4, 25] / 30, at T = 2
    # q = [1, 2, 5] / 8; the student's logits are half of the inputs and, at T = 2, a quarter:
    # p = [1, 2, 5]^(1 / 4) / (1 + 2^(1 / 4) + 5^(1 / 4)) = [0.2714, 0.3228, 0.4058], and
    # KL = 0.125 ln 0.4606 + 0.25 ln 0.7746 + 0.625 ln 1.5400 = -0.0969 - 0.0639 + 0.2699.
    inputs = np.log([1.0, 2.0, 5.0])
    roots = np.array([1.0, 2.0, 5.0]) ** 0.25
    q, p = np.array([1.0, 2.0, 5.0]) / 8, roots / roots.sum()
    divergence = float(np.sum(q * np.log(q / p)))
    assert divergence == pytest.approx(0.1091, abs=1e-4)
    for softmax in (False, True):
        teacher = scaling([2, 2, 2], softmax=softmax)
        student = scaling([0.5, 0.5, 0.5], softmax=softmax)
        found = lesson(teacher, student, [inputs], 0.25, 2.0)
        assert found == pytest.approx(0.75 * 7 + 0.25 * 4 * divergence, rel=1e-5)


def test_it_is_a_mean_over_the_batch():
    teacher, student = scaling([2, 2, 2]), scaling([0.5, 1, 1])
    one, other = [0.1, 0.5, 2.0], [3.0, -1.0, 0.2]
    apart = [lesson(teacher, student, [each], 1.0, 3.0) for each in (one, other)]
    assert lesson(teacher, student, [one, other], 1.0, 3.0) == pytest.approx(np.mean(apart))


def test_who_says_what_the_teacher_says_has_nothing_to_learn():
    teacher, student = scaling([2, 2, 2]), scaling([2, 2, 2])
    inputs = [[0.3, -0.2, 5.0]]
    assert lesson(teacher, student, inputs, 1.0, 4.0) == pytest.approx(0, abs=1e-6)
    assert lesson(teacher, student, inputs, 0.5, 4.0) == pytest.approx(3.5)


def test_probabilities_of_nothing_are_no_infinite_loss():
    teacher, student = scaling([900, 900, 900], softmax=True), scaling([-900] * 3, softmax=True)
    found = lesson(teacher, student, [[1.0, 0.0, 0.0]], 1.0, 1.0)
    # The student gives the right class 1e-7 at least.
    assert found == pytest.approx(-np.log(1e-7), rel=1e-3)


def network():
    """A small convolutional network, with all that behaves otherwise in training."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, name="conv1"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(3, name="fc1"),
        ]
    )


def images(count=64):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)
    return Split(pixels, rng.integers(0, 3, count).astype(np.int32))


def plan(**changes):
    rate = PiecewiseConstant(0.01, 1.0, 0, (), 0.0)
    fields = {"stage": "retrain", "draws": "retrain", "epochs": 2, "batch_size": 8, "rate": rate}
    fields |= {"optimizer": "adam", "weight_decay": 0.0, "label_smoothing": 0.0, "seed": 5}
    return Plan(**fields | {"augmentation": Augmentation(0, False, 0, (0,))} | changes)


def trained(student, teacher, checkpoints, **changes):
    trainer = Trainer(
        student,
        plan(**changes),
        images(),
        NORMALIZATION,
        CheckpointFolder(checkpoints, "retrain"),
        "mark",
        show_progress=False,
        teacher=teacher,
    )
    return trainer.run(lambda: {"test_accuracy": 0.0}, lambda record: None)


def test_the_teacher_stays_as_it_is_and_the_student_comes_to_say_the_same(tmp_path):
    master, student = network(), network()
    rng = np.random.default_rng(2)
    kernel, bias = student.layers[-1].get_weights()
    student.layers[-1].set_weights([rng.normal(size=kernel.shape), bias])
    before = [np.array(weight) for weight in master.get_weights()]
    inputs = NORMALIZATION(images().images)

    def apart():
        return float(np.abs(np.asarray(master(inputs)) - np.asarray(student(inputs))).mean())

    first = apart()
    history = trained(student, Teacher(master, 1.0, 2.0), tmp_path, epochs=20)
    assert apart() < first / 2 and history[-1]["loss"] < history[0]["loss"] / 2
    assert all(map(np.array_equal, before, master.get_weights()))


def test_without_weight_the_teacher_changes_nothing(tmp_path):
    # Other weights in the teacher, so that any part of it would show.
    alone, beside = network(), network()
    trained(alone, None, tmp_path / "a")
    trained(beside, Teacher(network(), 0.0, 2.0), tmp_path / "b")
    for one, other in zip(alone.get_weights(), beside.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_it_is_taught_at_the_side_of_its_images():
    master, student = network(), network()
    steps = Steps(
        student,
        plan(resizing=Resizing(((4, 1),))),
        images(),
        NORMALIZATION,
        ONE_DEVICE,
        teacher=Teacher(master, 1.0, 1.0),
    )
    order, rates = np.arange(8, dtype=np.int32)[None], np.zeros(1, np.float32)
    small, _ = steps.run(order, rates, 0)
    whole, _ = steps.run(order, rates, 8)
    assert np.isfinite(small).all() and np.isfinite(whole).all() and small[0] != whole[0]
