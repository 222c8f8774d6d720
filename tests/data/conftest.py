"""A small data set of TFDS that needs neither a network nor prepared data."""

import pytest
from ramps import prepare


@pytest.fixture(scope="session")
def ramps(tmp_path_factory):
    """A data directory with `ramps:1.0.0`: 9 training and 4 test images of 6 x 6 x 1."""
    data_dir = tmp_path_factory.mktemp("tfds")
    prepare(data_dir)
    return data_dir
