import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import tf
from tfprune.training.inputs import (
    Augmentation,
    Normalization,
    NormalizedImages,
    pixel_statistics,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 9, 8, 3), dtype=np.uint8)


def test_statistics_are_those_of_the_pixels():
    mean, deviation = pixel_statistics(IMAGES)
    assert mean == pytest.approx(IMAGES.mean(axis=(0, 1, 2)))
    assert deviation == pytest.approx(IMAGES.std(axis=(0, 1, 2)))


@pytest.mark.parametrize("kind", ["unit", "standardize", "none"])
def test_normalization_of_each_kind(kind):
    given_images = IMAGES.astype(np.float64)
    expected = {
        "unit": given_images / 255,
        "standardize": (given_images - given_images.mean((0, 1, 2))) / given_images.std((0, 1, 2)),
        "none": given_images,
    }[kind]
    inputs = Normalization.of(kind, IMAGES)(tf.constant(IMAGES))
    assert inputs.dtype == tf.float32
    np.testing.assert_allclose(inputs, expected, atol=1e-4, rtol=1e-5)


def test_images_become_floats_by_slices():
    normalization = Normalization.of("unit", IMAGES)
    inputs = NormalizedImages(IMAGES, normalization)
    assert len(inputs) == 6 and inputs.images is IMAGES
    np.testing.assert_array_equal(inputs[4:9], normalization(IMAGES)[4:])
    assert inputs[1:3].dtype == np.float32


def test_a_constant_channel_stays_finite():
    images = np.full((2, 4, 4, 1), 7, np.uint8)
    assert np.all(Normalization.of("standardize", images)(images) == 0)


def test_no_augmentation_changes_nothing():
    np.testing.assert_array_equal(Augmentation()(tf.constant(IMAGES), tf.constant([1, 2])), IMAGES)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 7), st.booleans())
def test_each_image_is_a_shifted_or_mirrored_copy_with_reflected_edges(seed, shift, flip):
    augmented = Augmentation(shift, flip)(tf.constant(IMAGES), tf.constant([seed, 8])).numpy()
    padding = ((shift, shift), (shift, shift), (0, 0))
    for image, result in zip(IMAGES, augmented, strict=True):
        padded = np.pad(image, padding, mode="reflect")
        height, width = image.shape[:2]
        windows = [
            padded[y : y + height, x : x + width]
            for y in range(2 * shift + 1)
            for x in range(2 * shift + 1)
        ]
        candidates = windows + ([window[:, ::-1] for window in windows] if flip else [])
        assert any(np.array_equal(result, candidate) for candidate in candidates)


def test_all_shifts_and_both_directions_occur():
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8), (400, 16, 16))[..., None].copy()
    result = Augmentation(2, True)(tf.constant(ramp), tf.constant([5, 8])).numpy()
    middles = {tuple(row) for row in result[:, 0, 7:9, 0]}
    rising = {(7 + k, 8 + k) for k in range(-2, 3)}
    assert middles == rising | {(b, a) for a, b in rising}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 8))
def test_cutout_fills_exactly_one_square(seed, side):
    images = np.full((5, 9, 8, 3), 200, np.uint8)
    augmentation = Augmentation(cutout=side, fill=(1, 2, 3))
    result = augmentation(tf.constant(images), tf.constant([seed, 8])).numpy()
    for image in result:
        rows, columns = np.nonzero((image == (1, 2, 3)).all(axis=-1))
        assert len(rows) == side * side
        assert np.ptp(rows) == np.ptp(columns) == side - 1


def test_the_seed_alone_decides():
    augmentation = Augmentation(2, True, 3, (0, 0, 0))
    images = tf.constant(IMAGES)
    first = augmentation(images, tf.constant([3, 16]))
    np.testing.assert_array_equal(augmentation(images, tf.constant([3, 16])), first)
    assert np.any(augmentation(images, tf.constant([3, 24])).numpy() != first.numpy())
    assert np.any(augmentation(images, tf.constant([4, 16])).numpy() != first.numpy())
