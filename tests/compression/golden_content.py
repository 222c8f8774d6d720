"""What the golden files hold, from whole numbers only.

The files were written once, when format 1 was made, by

    pack(golden(), coder, {name: coder.encode(...) for the coded variables})

with each coder; those of formats 2 and 3, `<coder>-2.tfprune` and `<coder>-3.tfprune`, with
`other_bits=8`; of `golden_image()`, by `context`, `neighbours-2.tfprune`; and likewise of
`golden_signs()` `signs-3.tfprune`. They are never written again: whatever tfprune becomes, it
reads them.
"""

import numpy as np

from tfprune.compression.container import Content

#: A Keras 3 model of these variables, as its configuration says, with no defaults in it.
ARCHITECTURE = {
    "module": "keras",
    "class_name": "Sequential",
    "config": {
        "name": "golden",
        "layers": [
            {
                "module": "keras.layers",
                "class_name": "InputLayer",
                "config": {"batch_shape": [None, 8, 8, 2], "dtype": "float32", "name": "images"},
                "registered_name": None,
            },
            {
                "module": "keras.layers",
                "class_name": "Conv2D",
                "config": {"name": "conv1", "filters": 6, "kernel_size": [3, 3]},
                "registered_name": None,
            },
            {
                "module": "keras.layers",
                "class_name": "Flatten",
                "config": {"name": "flat"},
                "registered_name": None,
            },
            {
                "module": "keras.layers",
                "class_name": "Dense",
                "config": {"name": "fc1", "units": 20},
                "registered_name": None,
            },
        ],
    },
    "registered_name": None,
    "build_config": {"input_shape": [None, 8, 8, 2]},
}


def numbers(count, seed):
    """Pseudorandom integers below 2^31: the linear congruential generator of C's standard."""
    found = np.empty(count, np.int64)
    state = seed
    for i in range(count):
        state = (1103515245 * state + 12345) % 2**31
        found[i] = state
    return found >> 8


def golden_image():
    """Content of one kernel that keeps a spot of an image of 12 x 12 pixels for each neuron."""
    place = np.arange(144)[:, None]
    centre = numbers(40, 5)[None, :] % 144
    far = (place // 12 - centre // 12) ** 2 + (place % 12 - centre % 12) ** 2
    kept = numbers(144 * 40, 6).reshape(144, 40) % 100 < 90 // (1 + far)
    values = (numbers(144 * 40, 7).reshape(144, 40) % 4 - 1.5).astype(np.float32) / 4
    arrays = {"fc1/kernel": np.where(kept, values, np.float32(0))}
    return Content(3, "3.15.0", ARCHITECTURE, arrays, frozenset(arrays))


def golden_signs():
    """Content of one kernel, whose filters have one sign a channel, and larger weights where fewer
    channels are removed."""
    kept = numbers(9 * 24 * 60, 8).reshape(9, 24, 60) % 100 < 4 * np.arange(1, 25)[:, None]
    sign = np.where(numbers(24 * 60, 9).reshape(24, 60) % 2, 1, -1)
    size = 1 + (numbers(9 * 24 * 60, 10).reshape(9, 24, 60) % 3 + np.arange(24)[:, None]) // 4
    arrays = {"conv1/kernel": (np.where(kept, sign * size, 0) / 8).astype(np.float32)}
    arrays = {name: array.reshape(3, 3, 24, 60) for name, array in arrays.items()}
    return Content(3, "3.15.0", ARCHITECTURE, arrays, frozenset(arrays))


def golden():
    """Content with float32 values, a codebook, clustered zeros, and plain variables."""
    conv = (numbers(108, 1) % 2001 - 1000).astype(np.float32) / 512
    conv[numbers(108, 2) % 10 < 6] = 0
    fc = (numbers(4320, 3) % 16 - 7.5).astype(np.float32) / 8
    scattered = numbers(4320, 4).reshape(216, 20) % 100
    kept = scattered < np.where(np.arange(216) % 9 < 3, 40, 3)[:, None]
    arrays = {
        "conv1/kernel": conv.reshape(3, 3, 2, 6),
        "conv1/bias": np.arange(6, dtype=np.float32) / 3,
        "fc1/kernel": np.where(kept, fc.reshape(216, 20), np.float32(0)),
        "fc1/bias": -np.arange(20, dtype=np.float32) / 7,
    }
    return Content(3, "3.15.0", ARCHITECTURE, arrays, frozenset({"conv1/kernel", "fc1/kernel"}))
