"""Centroids in training: of a kernel whose weights are shared, its few values are what trains.

The gradient of a centroid is the sum of its members' (Han et al. 2016, *Deep Compression*,
equation 3 and figure 3),

    dL/dC_k = sum_ij dL/dW_ij [I_ij = k],

and after each step every member is set to its centroid, so that members stay equal to the
bit and removed weights zero, whatever the optimizer does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.pruning.prunable import prunables
from tfprune.training.distribution import Replicas


class Centroids:
    """The centroids of a model's shared kernels, one variable a kernel.

    Attributes:
        variables: float32, shape (number of centroids,), in model order.
    """

    def __init__(self, model: Any, members: Mapping[str, np.ndarray]) -> None:
        """Makes the variables; their values are the members' (of the last one of each).

        Args:
            model: what trains, wrapped or plain.
            members: "conv1/kernel" -> int32 array of the kernel's shape: 0 for a removed
                weight, else 1 + the number of its centroid.
        """
        kernels = {prunable.key: prunable.variable for prunable in prunables(model)}
        trained = {id(variable) for variable in model.trainable_variables}
        self._kernels = [kernels[key] for key in members if id(kernels[key]) in trained]
        self._members: list[_Members] = []
        self.variables = []
        for key, member in members.items():
            if id(kernels[key]) not in trained:
                continue
            values = np.zeros(int(member.max(initial=0)) + 1, np.float32)
            values[member.reshape(-1)] = tf.convert_to_tensor(kernels[key]).numpy().reshape(-1)
            self.variables.append(_variable(values[1:], f"{key.replace('/', '_')}_centroids"))
            self._members.append(_Members.of(member, len(values) - 1))

    def trained(self, variables: Sequence[Any]) -> list[Any]:
        """Trained variables with centroids in the place of shared kernels."""
        place = {id(kernel): i for i, kernel in enumerate(self._kernels)}
        return [
            self.variables[place[id(variable)]] if id(variable) in place else variable
            for variable in variables
        ]

    def grouped(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """Gradients of `variables` -> those of `trained(variables)`: sums over members."""
        found = list(gradients)
        numbers = {id(variable): i for i, variable in enumerate(variables)}
        for kernel, members in zip(self._kernels, self._members, strict=True):
            place = numbers[id(kernel)]
            found[place] = members.sums(tf.convert_to_tensor(found[place]))
        return found

    def spread(self, replicas: Replicas) -> None:
        """Sets every member to its centroid, removed weights to +0.0."""
        kernels, centroids = replicas.own(self._kernels), replicas.own(self.variables)
        for kernel, members, values in zip(kernels, self._members, centroids, strict=True):
            kernel.assign(members.spread(tf.convert_to_tensor(values)))


@dataclasses.dataclass(frozen=True)
class _Members:
    """Which centroid each weight of a kernel has.

    Attributes:
        numbers: int32, of the kernel's shape: 0 for a removed weight, else 1 + its centroid's.
        kept: the places of the weights that are not removed, int32; None: of all.
        groups: the number of the centroid of each of these, int32.
        count: how many centroids there are.
    """

    numbers: tf.Tensor
    kept: tf.Tensor | None
    groups: tf.Tensor
    count: int

    @classmethod
    def of(cls, numbers: np.ndarray, count: int) -> _Members:
        """From `numbers` and `count`."""
        flat = numbers.reshape(-1)
        kept = np.flatnonzero(flat).astype(np.int32)
        places = None if kept.size == flat.size else tf.constant(kept)
        return cls(tf.constant(numbers), places, tf.constant(flat[kept] - 1), count)

    def sums(self, gradient: tf.Tensor) -> tf.Tensor:
        """The sum over each centroid's members of a gradient of the kernel's shape: (count,).

        Summing takes far longer than finding what to sum: removed weights are left out before.
        """
        flat = tf.reshape(gradient, [-1])
        kept = flat if self.kept is None else tf.gather(flat, self.kept)
        return tf.math.unsorted_segment_sum(kept, self.groups, self.count)

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """(count,) values -> the kernel: each weight its centroid's, or 0."""
        return tf.gather(tf.concat([[0.0], values], 0), self.numbers)


def _variable(values: np.ndarray, name: str) -> Any:
    if IS_TF_KERAS:
        return tf.Variable(values, name=name)
    return keras.Variable(values, dtype="float32", name=name)
