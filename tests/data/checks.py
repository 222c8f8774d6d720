"""What the tests of several data sets check alike."""

import subprocess
import sys

import numpy as np
import pytest

from tfprune import data
from tfprune.errors import TfpruneError


def assert_same(a: data.Split, b: data.Split) -> None:
    assert a.images.dtype == b.images.dtype == np.uint8
    assert a.labels.dtype == b.labels.dtype == np.int32
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)


def refused(error_type: type[TfpruneError], *arguments, **options) -> str:
    """The message of the error that `load` raises: one line of that very type."""
    with pytest.raises(TfpruneError) as caught:
        data.load(*arguments, **options)
    message = str(caught.value)
    assert type(caught.value) is error_type, message
    assert "\n" not in message
    assert "Received: " in message
    return message


def imported_by(call: str) -> list[str]:
    """Which of TensorFlow and TFDS a fresh process has imported after `call`."""
    code = (
        f"import sys; from tfprune import data; {call}; "
        "print(*{'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()
