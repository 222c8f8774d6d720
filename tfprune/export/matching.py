"""Which stored array belongs to which mask, where files rename, reshape and fold weights.

Names decide where a file has them. Where it has not, or where several arrays could be
meant, shape, order and at last the values do: an array whose zeros fit the mask is the
pruned one. A mask without an array stays without; nothing is taken on trust.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfprune.export.flatbuffer import Kernel
from tfprune.export.stored import StoredWeight

Masks = Mapping[str, np.ndarray]
#: (mask key, index of an array) -> how well the names agree, 0 best; None: not at all.
Rank = Callable[[str, int], "int | None"]

_UNNAMED = 3


def count_came_back(mask: np.ndarray, values: np.ndarray) -> int:
    """Removed positions (mask False) that hold anything but zero, NaN included."""
    return int(np.count_nonzero(values.reshape(mask.shape)[~mask]))


def _removed(mask: np.ndarray) -> int:
    return int(mask.size - np.count_nonzero(mask))


def match_stored(masks: Masks, stored: Sequence[StoredWeight]) -> dict[str, list[np.ndarray]]:
    """Arrays of a model, HDF5 file or checkpoint for each mask.

    Args:
        masks: "layer/variable" -> bool array, True = kept, in model order.
        stored: what the file holds.

    Returns:
        For each mask the arrays to be checked: none when the file does not have it, several
        when the file holds several copies under one name.
    """

    stored = _name_groups(masks, stored)
    ends: dict[str, list[int]] = {}  # all that `rank` can tell apart from nothing
    for i, entry in enumerate(stored):
        ends.setdefault(entry.layer.rsplit("/", 1)[-1], []).append(i)

    def near(key: str) -> Sequence[int]:
        return ends.get(key.split("/")[-2], ())

    def rank(key: str, i: int) -> int | None:
        layer, variable = key.rsplit("/", 1)
        entry = stored[i]
        if entry.variable not in ("", variable) or not entry.layer:
            return None
        if entry.layer == layer:
            return 0
        # tf_keras leaves the outer models out of a name, Keras 3 puts the model's before it.
        if layer.endswith(f"/{entry.layer}"):
            return 1
        if entry.layer.endswith(f"/{layer}"):
            return 2
        return None

    arrays = [entry.values for entry in stored]
    chosen = _assign(masks, arrays, rank, near)
    return {key: [arrays[i] for i in indices] for key, indices in chosen.items()}


def _name_groups(masks: Masks, stored: Sequence[StoredWeight]) -> Sequence[StoredWeight]:
    """Gives the layers of a file without names (tf_keras's `.weights.h5`) those of the masks.

    A layer is taken as a whole, kernel, bias and all: an array of the right shape alone,
    such as another layer's bias that is still zero, proves nothing.
    """
    groups: dict[str, list[int]] = {}
    for i, entry in enumerate(stored):
        if not entry.layer:
            groups.setdefault(entry.group, []).append(i)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, mask in masks.items():
        layer, variable = key.rsplit("/", 1)
        layers.setdefault(layer, {})[variable] = mask

    def came_back(wanted: Mapping[str, np.ndarray], group: list[int]) -> int | None:
        """Removed weights of a layer that are not zero in a group; None: it is another's."""
        total = 0
        for variable, mask in wanted.items():
            counts = [
                count_came_back(mask, stored[i].values)
                for i in group
                if stored[i].variable in ("", variable) and _fits(mask, stored[i].values)
            ]
            if not counts:
                return None
            total += max(counts)
        return total

    named = list(stored)
    # A layer that lost much can be told by its zeros, one that lost nothing takes what is left.
    for layer in sorted(layers, key=lambda name: -sum(_removed(m) for m in layers[name].values())):
        found = {group: came_back(layers[layer], entries) for group, entries in groups.items()}
        counts = {group: count for group, count in found.items() if count is not None}
        if counts:
            for i in groups.pop(min(counts, key=lambda group: counts[group])):
                named[i] = replace(stored[i], layer=layer)
    return named


def match_kernels(masks: Masks, kernels: Sequence[Kernel]) -> dict[str, list[np.ndarray]]:
    """Arrays of a TFLite file for each mask.

    A bias, or the gamma and beta of a batch norm, has no tensor of its own there: it is
    looked for among the constants that follow the kernel of its layer, or of the layer
    before the batch norm. Where the converter folded a batch norm into a layer, the bias of
    that layer stands for it; constants it left out were all zero.

    Args:
        masks: "layer/variable" -> bool array, True = kept, in model order.
        kernels: `flatbuffer.read_kernels` of the file.
    """
    of_kernels = {key: mask for key, mask in masks.items() if not _is_vector(key, mask)}
    chosen = _name_kernels(of_kernels, kernels)
    matched = {key: [kernels[i].values for i in indices] for key, indices in chosen.items()}
    anchor: tuple[str, np.ndarray] | None = None
    for key, mask in masks.items():
        if not _is_vector(key, mask):
            anchor = (key, mask)
        elif anchor is None or anchor[1].size % mask.size:
            matched[key] = []
        else:
            matched[key] = [
                _vector(kernels[i], key.rsplit("/", 1)[1], mask.size) for i in chosen[anchor[0]]
            ]
    return matched


def _is_vector(key: str, mask: np.ndarray) -> bool:
    # The bias of an EinsumDense may have several axes.
    return mask.ndim == 1 or key.rsplit("/", 1)[1] in ("bias", "gamma", "beta")


def _vector(kernel: Kernel, variable: str, size: int) -> np.ndarray:
    """The constant of a TFLite layer that stands for a bias, gamma or beta."""
    vectors = [vector for vector in kernel.vectors if vector.values.size == size]
    scales = [vector.values for vector in vectors if vector.operator == "MUL"]
    shifts = [vector.values for vector in vectors if vector.operator == "ADD"]
    if variable == "gamma" and scales:
        return scales[0]
    if variable == "beta" and shifts:
        return shifts[-1]
    # A shift after a scale is the batch norm's; the bias was left out.
    if vectors and vectors[0].operator == "ADD":
        return vectors[0].values
    return np.zeros(size, np.float32)


def _name_kernels(masks: Masks, kernels: Sequence[Kernel]) -> dict[str, list[int]]:
    """Assigns the kernels of a TFLite file by the scopes in their names.

    TensorFlow makes scopes unique with a number, so that "conv_1" is a layer of that name
    or the layer "conv". All scopes of a file get the same number: the one that names most
    of the masks is right, and between equals the one that fits their zeros best.
    """
    arrays = [kernel.values for kernel in kernels]
    best: tuple[tuple[int, int, int], dict[str, list[int]]] | None = None
    for suffix in ("", "_1", "_2", "_3"):
        named = {
            key: {i for i, kernel in enumerate(kernels) if _in_scope(key, suffix, kernel)}
            for key in masks
        }
        claimed = set().union(*named.values())

        def rank(key: str, i: int, named: dict = named, claimed: set = claimed) -> int | None:
            if i in named[key]:
                return 0
            return None if i in claimed else _UNNAMED

        chosen = _assign(masks, arrays, rank, lambda key: range(len(arrays)))
        missing = sum(not indices for indices in chosen.values())
        nameless = sum(not indices for indices in named.values())
        came_back = sum(
            count_came_back(masks[key], arrays[i]) for key, found in chosen.items() for i in found
        )
        if best is None or (missing, nameless, came_back) < best[0]:
            best = ((missing, nameless, came_back), chosen)
    return best[1] if best else {}


def _in_scope(key: str, suffix: str, kernel: Kernel) -> bool:
    layer = "/".join(re.escape(part + suffix) for part in key.rsplit("/", 1)[0].split("/"))
    return any(re.search(rf"(^|[/;]){layer}([/;]|$)", name) for name in kernel.names)


def _assign(
    masks: Masks,
    arrays: Sequence[np.ndarray],
    rank: Rank,
    near: Callable[[str], Sequence[int]],
) -> dict[str, list[int]]:
    """For each mask the indices of the arrays that carry its weights; only `near` ones may."""
    candidates: dict[str, tuple[int, tuple[int, ...]]] = {}
    for key, mask in masks.items():
        ranks = {i: rank(key, i) for i in near(key) if _fits(mask, arrays[i])}
        known = {i: value for i, value in ranks.items() if value is not None}
        best = min(known.values(), default=_UNNAMED)
        candidates[key] = (best, tuple(i for i, value in known.items() if value == best))
    same = Counter(candidates.values())
    chosen: dict[str, list[int]] = {}
    taken: set[int] = set()
    # Sure names first: what they take is no longer free for the nameless.
    for key in sorted(masks, key=lambda key: (candidates[key][0], -_removed(masks[key]))):
        best, found = candidates[key]
        rivals = same[best, found]
        if best < _UNNAMED and (rivals == 1 or rivals != len(found)):
            # Several arrays under one name are copies, and each has to be right.
            chosen[key] = list(found)
        else:
            free = [i for i in found if i not in taken]
            chosen[key] = sorted(free, key=lambda i: count_came_back(masks[key], arrays[i]))[:1]
        taken.update(chosen[key])
    return {key: chosen[key] for key in masks}


def _fits(mask: np.ndarray, array: np.ndarray) -> bool:
    """Whether an array holds the mask's positions in the same order, axes merged or not."""
    if mask.size != array.size:
        return False
    axes = [size for size in mask.shape if size > 1]
    for size in (size for size in array.shape if size > 1):
        merged = 1
        while merged < size and axes:
            merged *= axes.pop(0)
        if merged != size:
            return False
    return True
