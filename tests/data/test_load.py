"""The door: arguments that `load` refuses, and the hold-out split for validation."""

import numpy as np
import pytest
from checks import assert_same, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune import data
from tfprune.errors import UsageError


class TestArguments:
    @pytest.mark.parametrize("name", ["", "a b", "../mnist", "mnist:3", "mnist:*"])
    def test_malformed_name(self, name):
        assert "name/config or name:1.2.3" in refused(UsageError, name)

    def test_image_size_out_of_range(self):
        assert "at least 1 pixel. Received: 0" in refused(UsageError, "mnist", image_size=0)


class TestHoldOut:
    @settings(max_examples=10, deadline=None)
    @given(fraction=st.floats(0.001, 0.999))
    def test_holds_out_that_share_of_the_training_set_and_loses_nothing(self, fraction):
        whole = data.load("digits", image_size=8)
        parts = data.load("digits", image_size=8, validation_fraction=fraction)
        assert len(parts.validation) == int(np.floor(fraction * 1438 + 0.5))
        together = np.concatenate([parts.train.images, parts.validation.images])
        assert sorted(i.tobytes() for i in together) == sorted(
            i.tobytes() for i in whole.train.images
        )
        assert_same(parts.test, whole.test)

    def test_does_not_depend_on_the_global_seed(self):
        np.random.seed(1)
        first = data.load("digits", validation_fraction=0.1)
        np.random.seed(2)
        assert_same(first.validation, data.load("digits", validation_fraction=0.1).validation)

    def test_labels_stay_with_their_images(self, ramps):
        parts = data.load("ramps", data_dir=ramps, validation_fraction=1 / 3)
        assert (len(parts.train), len(parts.validation)) == (6, 3)
        for split in (parts.train, parts.validation):
            np.testing.assert_array_equal(split.labels, split.images[:, 0, 0, 0] // 10 % 3)

    @pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
    def test_out_of_range(self, fraction):
        message = refused(UsageError, "digits", validation_fraction=fraction)
        assert f"[0, 1). Received: {fraction}" in message

    @pytest.mark.parametrize("fraction", [1e-5, 0.99999])
    def test_an_empty_side_is_refused(self, fraction):
        message = refused(UsageError, "digits", validation_fraction=fraction)
        assert "both sides of 1438" in message
