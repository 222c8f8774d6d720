import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import IS_TF_KERAS, tf
from tfprune.errors import UsageError
from tfprune.training.distribution import ONE_DEVICE, check_keras
from tfprune.training.inputs import Augmentation
from tfprune.training.lockstep import replicas_of

ROOT = Path(__file__).parents[2]


@settings(max_examples=20, deadline=None)
@given(
    parts=st.sampled_from([1, 2, 3, 6]),
    shift=st.integers(0, 2),
    flip=st.booleans(),
    cutout=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_the_parts_of_a_batch_are_augmented_as_the_batch_is(parts, shift, flip, cutout, seed):
    images = np.random.default_rng(seed).integers(0, 256, (12, 5, 7, 2)).astype(np.uint8)
    augmentation = Augmentation(shift, flip, cutout, (7, 8))
    draw = tf.constant([3, seed])
    whole = augmentation(tf.constant(images), draw).numpy()
    size = 12 // parts
    for first in range(0, 12, size):
        part = augmentation(tf.constant(images[first : first + size]), draw, (first, 12))
        np.testing.assert_array_equal(part, whole[first : first + size])


def test_without_a_strategy_one_device_does_it_all():
    with replicas_of("none") as replicas:
        assert replicas is ONE_DEVICE
    assert (replicas.count, replicas.leads, replicas.signal) == (1, True, None)
    batch = tf.range(4)
    assert replicas.share(batch) == (batch, None)


@pytest.mark.skipif(IS_TF_KERAS, reason="what Keras 3 is told")
@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_keras_3_is_refused_with_the_reason(strategy):
    with (
        pytest.raises(UsageError, match="needs tf_keras: Keras 3 does not train with"),
        replicas_of(strategy),
    ):
        pass


@pytest.mark.skipif(not IS_TF_KERAS, reason="what tf_keras may")
def test_tf_keras_is_accepted():
    check_keras()


@pytest.fixture(scope="module")
def mirrored():
    """What `mirrored.py` found; it runs under tf_keras whatever runs here."""
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("mirrored.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


once = pytest.mark.skipif(IS_TF_KERAS, reason="once is enough: it chooses its own Keras")


@once
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_two_replicas_train_as_one_device_does(mirrored, optimizer):
    assert mirrored["replicas"] == 2
    found = mirrored[optimizer]
    assert found["losses"][1] == pytest.approx(found["losses"][0], abs=1e-4)
    assert found["weights"] < 1e-4
    assert found["sparsities"][0] == found["sparsities"][1]
    assert found["masks_equal"] and found["replicas_equal"]


@once
def test_masks_that_change_while_training_change_on_both_replicas(mirrored):
    changing = mirrored["changing"]
    assert changing["same"] and changing["copies_same"]
    # 4 x 9 and 64 x 20 weights; half of 1316 are removed.
    removed = 36 * changing["sparsities"]["conv"] + 1280 * changing["sparsities"]["hidden"]
    assert removed == pytest.approx(658)


@once
def test_moving_statistics_are_the_mean_over_the_replicas(mirrored):
    """moving = m moving + (1 - m) mean over parts of the part's statistic, from 0 and 1."""
    moving = mirrored["moving"]
    assert moving["mean"] == pytest.approx(moving["expected_mean"], rel=1e-5)
    assert moving["variance"] == pytest.approx(moving["expected_variance"], rel=1e-5)


@once
def test_two_replicas_resume_to_the_bit_with_dropout_and_batch_norm(mirrored):
    assert mirrored["resumed"] == [0, [2, 3]]


@once
def test_a_batch_that_cannot_be_shared_out_is_refused(mirrored):
    assert "a multiple of the 2 replicas" in mirrored["refused"]
    assert mirrored["refused"].endswith("received 15")
