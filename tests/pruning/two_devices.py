"""Prunes under a `PruningCallback` on two devices, for `test_callback.py`.

A process of its own: the devices have to be asked for before TensorFlow starts. It writes what
each of them holds after training, as JSON.
"""

import json

import numpy as np
from test_callback import compiled, fit

from tfprune.backend import IS_TF_KERAS, tf
from tfprune.pruning.callback import PruningCallback
from tfprune.pruning.prunable import prunables
from tfprune.pruning.schedule import PolynomialSchedule


def copies(strategy, variable):
    """The value of a variable on each device; in Keras 3 it is inside Keras's own."""
    inside = variable if IS_TF_KERAS else variable.value
    return [copy.numpy() for copy in strategy.experimental_local_results(inside)]


def main():
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = compiled()
    watch, _ = fit(model, PruningCallback(PolynomialSchedule(0.8, 7, frequency=3)))
    group = [p for p in prunables(model) if p.mask is not None]
    masks = [copies(strategy, p.mask) for p in group]
    kernels = [copies(strategy, p.variable) for p in group]
    result = {
        "removed": watch.removed,
        "masks_equal": [np.array_equal(*found) for found in masks],
        "kernels_equal": [np.array_equal(*found) for found in kernels],
        "kept": [sum(map(np.count_nonzero, found)) for found in zip(*masks, strict=True)],
        "nonzero": [sum(map(np.count_nonzero, found)) for found in zip(*kernels, strict=True)],
    }
    print(json.dumps(result, default=int))


if __name__ == "__main__":
    main()
