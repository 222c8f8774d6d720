"""The bundled digits: their split, their bytes and their scaling."""

import hashlib

import numpy as np
from checks import imported_by, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune import data
from tfprune.data.digits import _upscale
from tfprune.errors import UsageError


class TestDigits:
    def test_shapes_types_and_counts_of_each_class(self):
        digits = data.load("digits")
        assert (digits.name, digits.classes, digits.image_shape) == ("digits", 10, (28, 28, 1))
        assert digits.train.images.shape == (1438, 28, 28, 1)
        assert digits.test.images.shape == (359, 28, 28, 1)
        assert digits.train.images.dtype == np.uint8
        assert digits.train.labels.dtype == np.int32
        assert digits.validation is None
        # scikit-learn's class counts: 178 182 177 183 181 182 181 179 174 180; a fifth of
        # each, rounded, is 35.6 36.4 35.4 36.6 36.2 36.4 36.2 35.8 34.8 36.0.
        test_counts = [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
        train_counts = [142, 146, 142, 146, 145, 146, 145, 143, 139, 144]
        assert np.bincount(digits.test.labels).tolist() == test_counts
        assert np.bincount(digits.train.labels).tolist() == train_counts

    def test_content_is_the_same_bytes_everywhere(self):
        digits = data.load("digits")
        content = hashlib.sha256()
        for split in (digits.train, digits.test):
            content.update(split.images.tobytes())
            content.update(split.labels.astype("<i4").tobytes())
        assert content.hexdigest() == (
            "1ba82ff9336bf25bd2278b3aa1dbdda3945943195eaf41829803d7ab2dcaa59f"
        )

    def test_splits_are_disjoint_and_complete(self):
        from sklearn.datasets import load_digits

        digits = data.load("digits", image_size=8)  # 8 pixels: v -> round(255 v / 16)
        bundled = np.floor(load_digits().images * 255 / 16 + 0.5).astype(np.uint8)
        together = np.concatenate([digits.train.images, digits.test.images])[..., 0]
        rows = sorted(image.tobytes() for image in together)
        assert rows == sorted(image.tobytes() for image in bundled)

    def test_upscaling_interpolates_between_pixel_centres(self):
        # 8 -> 16 pixels: output centres lie at -1/4, 1/4, 3/4, ... of the source, so that
        # a single bright row 0 (16) gives rows 16, 12, 4, 0 (edges repeat), times 255/16.
        image = np.zeros((1, 8, 8), np.int64)
        image[0, 0] = 16
        rows = _upscale(image, 16)[0, :, 5]
        assert rows.tolist() == [255, 191, 64] + [0] * 13

    @settings(max_examples=20, deadline=None)
    @given(side=st.integers(8, 40), value=st.integers(0, 16))
    def test_upscaling_keeps_a_constant(self, side, value):
        image = np.full((1, 8, 8), value, np.int64)
        expected = (2 * 255 * value + 16) // 32
        assert (_upscale(image, side) == expected).all()

    def test_image_size(self):
        assert data.load("digits", image_size=16).image_shape == (16, 16, 1)

    def test_smaller_than_the_original_is_refused(self):
        assert "at least that. Received: 7" in refused(UsageError, "digits", image_size=7)

    def test_nothing_slow_is_imported(self):
        assert imported_by("data.load('digits')") == []
