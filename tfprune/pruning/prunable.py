"""The prunable variables of a model, and how a user names them."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.pruning.constraint import mask_of
from tfprune.pruning.graph import leaf_layers, output_layers, parts, unwrapped
from tfprune.pruning.kernels import Kernel, kernels_of

#: Words that stand for several layers in `layers` and `exclude`.
GROUPS = ("all", "conv", "fc", "rnn", "depthwise", "embedding")
_OPT_IN = ("depthwise", "embedding")


@dataclasses.dataclass(frozen=True)
class Prunable:
    """One prunable variable of a model.

    Attributes:
        name: what a user calls it: the path of its layer ("conv1", "block/conv1", "lstm/cell"),
            followed by the attribute where a layer has several.
        key: name of its mask, "conv1/kernel".
        path: path of its layer.
        layer: the layer itself, out of its wrapper.
        kernel: where in the layer it is.
        leaf: path of the layer of the graph that it is or that it is inside of ("lstm"); empty
            in a subclassed model.
    """

    name: str
    key: str
    path: str
    layer: Any
    kernel: Kernel
    leaf: str

    @property
    def variable(self) -> Any:
        """The Keras variable."""
        return getattr(self.layer, self.kernel.attribute)

    @property
    def mask(self) -> Any:
        """The variable that holds its mask; None where it has none."""
        return mask_of(self.variable)


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """One row of the layer table.

    Attributes:
        name: as in `Prunable`.
        kind: as in `Kernel`.
        shape: shape of the kernel.
        size: its number of weights.
        kept: how many of them were not removed.
        sparsity: 1 - kept / size.
        threshold: smallest |w| of the kept weights; None when not pruned.
        pruned: whether it has a mask, or in a plain model a zero.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    size: int
    kept: int
    sparsity: float
    threshold: float | None
    pruned: bool


@dataclasses.dataclass(frozen=True)
class Part:
    """A layer of a model, or one inside such a layer.

    Attributes:
        path: its path, "block/conv1", "lstm/cell".
        layer: the layer, out of its wrapper.
        leaf: path of the layer of the graph.
        outer: that layer, in its wrapper where it has one.
    """

    path: str
    layer: Any
    leaf: str
    outer: Any


def model_parts(model: Any) -> list[Part]:
    """All layers of a model, plain, wrapped or nested, and those inside them, in model order."""
    return [
        Part(f"{leaf}/{path}".strip("/") or layer.name, layer, leaf, outer)
        for leaf, outer in leaf_layers(model)
        for path, layer in parts(outer)
    ]


def prunables(model: Any) -> list[Prunable]:
    """All prunable variables of a model, plain, wrapped or nested, in model order."""
    found = []
    for part in model_parts(model):
        kernels = kernels_of(part.layer)
        for kernel in kernels if part.layer.built else ():
            key = f"{part.path}/{kernel.attribute}"
            if getattr(part.layer, kernel.attribute, None) is None:
                raise UsageError(
                    f"layer {part.path!r} declares a variable {kernel.attribute!r} in "
                    "prunable_weights and has none of that name"
                )
            name = part.path if len(kernels) == 1 else key
            found.append(Prunable(name, key, part.path, part.layer, kernel, part.leaf))
    return found


def select(
    model: Any, layers: str | Iterable[str] | None = None, exclude: str | Iterable[str] = ()
) -> list[Prunable]:
    """Resolves what a user calls a group to variables, in model order.

    The output layers (the last ones with a kernel on the way to each output) are left out
    unless named exactly; so are depthwise convolutions and embeddings, unless named exactly
    or by their kind. Which layers of a subclassed model are its output nobody knows: none is
    left out.

    Args:
        model: a built model.
        layers: None or "all"; "conv", "fc", "rnn", "depthwise", "embedding"; the name of a
            layer or of a model inside, with wildcards ("block1/*") or without; or several.
        exclude: the same, to be left out again: of every kind, and output layers too.

    Raises:
        UsageError: a name that no prunable layer has, or a group without layers.
    """
    found = prunables(model)
    outputs = {id(layer) for layer in output_layers(model)}
    last = {part.leaf for part in model_parts(model) if id(unwrapped(part.outer)) in outputs}
    hidden = [p for p in found if p.leaf not in last]
    usual = [p for p in hidden if p.kernel.kind not in _OPT_IN]
    names = _as_names(layers if layers is not None else "all", "layers")
    wanted = {p.key for name in names for p in _matching(name, found, hidden, usual, "layers")}
    for name in _as_names(exclude, "exclude"):
        wanted -= {p.key for p in _matching(name, found, found, found, "exclude")}
    if not wanted:
        raise UsageError(
            f"no layer is left to prune. Received: layers={layers!r}, exclude={exclude!r}. "
            f"Possible names: {_listed(found)}"
        )
    return [p for p in found if p.key in wanted]


def _as_names(names: str | Iterable[str], argument: str) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    if not all(isinstance(name, str) for name in listed):
        raise UsageError(f"{argument} must be names of layers. Received: {names!r}")
    return listed


def _matching(
    name: str,
    found: list[Prunable],
    of_kind: list[Prunable],
    of_pattern: list[Prunable],
    argument: str,
) -> list[Prunable]:
    """What a name stands for: exactly, of all that is `found`; else as a kind, or a pattern."""
    if name in GROUPS:
        return of_pattern if name == "all" else [p for p in of_kind if p.kernel.kind == name]
    exact = [p for p in found if name in (p.name, p.path, p.leaf)]
    if exact:
        return exact
    # The name of a model, or of a layer inside a layer, stands for what is in it.
    matched = [
        p
        for p in of_pattern
        if any(fnmatch.fnmatchcase(p.name, pattern) for pattern in (name, f"{name}/*"))
    ]
    if matched:
        return matched
    raise UsageError(
        f"{argument}: no layer called {name!r} has weights to prune. "
        f"Possible names: {_listed(found)}; or one of {', '.join(GROUPS)}"
    )


def _listed(found: list[Prunable]) -> str:
    return ", ".join(p.name for p in found) or "none (the model has no prunable layer)"


def describe(model: Any) -> list[LayerInfo]:
    """The layer table: every layer with a prunable kernel, in model order.

    In a pruned model the masks tell what was removed; a plain or stripped model has only its
    zeros. (A kept weight may be zero too: of 17 million random ones two were.)
    """
    found = prunables(model)
    by_masks = any(prunable.mask is not None for prunable in found)
    rows = []
    for prunable in found:
        weights = np.abs(tf.convert_to_tensor(prunable.variable).numpy())
        if prunable.mask is not None:
            kept = tf.convert_to_tensor(prunable.mask).numpy()
        else:
            kept = np.broadcast_to(True, weights.shape) if by_masks else weights > 0
        count = int(np.count_nonzero(kept))
        pruned = prunable.mask is not None if by_masks else count < weights.size
        smallest = weights.min(where=kept, initial=np.inf) if pruned and count else None
        rows.append(
            LayerInfo(
                name=prunable.name,
                kind=prunable.kernel.kind,
                shape=tuple(weights.shape),
                size=weights.size,
                kept=count,
                sparsity=(weights.size - count) / weights.size,
                threshold=None if smallest is None else float(smallest),
                pruned=pruned,
            )
        )
    return rows
