"""The audit: proof that every removed weight is still zero, in a model or in a file.

The masks are the truth and the audit only compares. It reads files as they are stored,
needs no model for them, and says "unverified" where it has nothing to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfprune.errors import TfpruneError, UsageError
from tfprune.export.matching import count_came_back, match_kernels, match_stored
from tfprune.export.stored import StoredWeight, model_weights, read_weights

if TYPE_CHECKING:
    from tfprune.backend import keras

Masks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LayerAudit:
    """What became of one masked variable.

    Attributes:
        name: "layer/variable", as in the masks.
        size: number of weights.
        removed: number of weights the mask removed; 0 without a mask.
        came_back: removed weights that are not zero now (NaN counts), 0 to `removed`.
        zeros: weights that are zero, removed or not.
        found: False where the file has no such variable; nothing is known then.
    """

    name: str
    size: int
    removed: int
    came_back: int
    zeros: int
    found: bool = True


@dataclass(frozen=True)
class AuditReport:
    """The verdict on one model or file.

    Attributes:
        source: name of the model or the file, without its folder.
        verdict: "ok" (every masked variable was found and every removed weight is zero),
            "failed", or "unverified" (there were no masks to compare with).
        layers: one entry a masked variable; without masks one a kernel.
    """

    source: str
    verdict: str
    layers: tuple[LayerAudit, ...]

    @property
    def came_back(self) -> int:
        """Removed weights that are not zero, over all layers."""
        return sum(layer.came_back for layer in self.layers)

    @property
    def missing(self) -> tuple[str, ...]:
        """Masked variables the file does not have."""
        return tuple(layer.name for layer in self.layers if not layer.found)

    def __str__(self) -> str:
        """A table, a line for each variable, and the verdict."""
        width = max([len("variable"), *(len(layer.name) for layer in self.layers)])
        lines = [f"{self.source}: {self.verdict}"]
        lines += [f"  {'variable':<{width}} {'size':>12} {'zeros':>12} {'removed':>12} came back"]
        for layer in self.layers:
            back = f"{layer.came_back:>9}" if layer.found else "not found"
            numbers = f"{layer.size:>12,} {layer.zeros:>12,} {layer.removed:>12,}"
            lines.append(f"  {layer.name:<{width}} {numbers} {back}")
        return "\n".join(lines)


def audit(
    model_or_path: keras.Model | str | Path, masks: Masks | str | Path | None = None
) -> AuditReport:
    """Counts the removed weights that are not zero any more.

    Zero is zero of either sign; in a quantized file it is the zero point.

    Args:
        model_or_path: a Keras model, wrapped or stripped, or the path of a `.keras`,
            `.weights.h5`, `.tflite` or `.tfprune` file, a SavedModel folder or a
            checkpoint's prefix.
        masks: "layer/variable" -> bool array (True = kept), or the path of a masks.npz. None
            takes the masks a wrapped model carries; without any the verdict is "unverified".

    Returns:
        The report. It is "ok" only if each masked variable was found; in a TFLite file a
        bias or batch norm is judged by the constants it was folded into.

    Raises:
        TfpruneError: a file or the masks can not be read.
        UsageError: a mask is no boolean array or has no name of the form "layer/variable".
    """
    if isinstance(model_or_path, (str, Path)):
        path = Path(model_or_path)
        return _report(path.name, path, _load(masks))
    given = _load(masks)
    if given is None:
        from tfprune.pruning.pruner import get_masks

        given = get_masks(model_or_path)
    return _report(model_or_path.name, model_weights(model_or_path), given)


def _load(masks: Masks | str | Path | None) -> Masks | None:
    if isinstance(masks, (str, Path)):
        from tfprune.pruning.masks import load_masks

        return load_masks(masks)
    for key, mask in (masks or {}).items():
        if "/" not in key or not isinstance(mask, np.ndarray) or mask.dtype != bool:
            raise UsageError(
                'masks must be named "layer/variable" and be boolean NumPy arrays. '
                f"Received: {key!r}: {getattr(mask, 'dtype', type(mask).__name__)}"
            )
    return masks


def _report(source: str, stored: Path | Sequence[StoredWeight], masks: Masks | None) -> AuditReport:
    if isinstance(stored, Path) and stored.suffix == ".tflite":
        from tfprune.export.flatbuffer import read_kernels

        kernels = read_kernels(stored)
        found = match_kernels(masks or {}, kernels)
        names = [(kernel.tensor, kernel.values) for kernel in kernels]
    else:
        weights = read_weights(stored) if isinstance(stored, Path) else stored
        found = match_stored(masks or {}, weights)
        names = [(f"{w.layer}/{w.variable}".strip("/"), w.values) for w in weights]
    if not masks:
        layers = [
            LayerAudit(name, values.size, 0, 0, _zeros(values))
            for name, values in names
            if values.ndim > 1
        ]
        return AuditReport(source, "unverified", tuple(layers))
    layers = [_compare(key, mask, found[key]) for key, mask in masks.items()]
    clean = all(layer.found and not layer.came_back for layer in layers)
    return AuditReport(source, "ok" if clean else "failed", tuple(layers))


def _compare(name: str, mask: np.ndarray, copies: Sequence[np.ndarray]) -> LayerAudit:
    """The worst of all copies a file holds of a variable."""
    removed = int(np.count_nonzero(~mask))
    if not copies:
        return LayerAudit(name, mask.size, removed, 0, 0, found=False)
    came_back = max(count_came_back(mask, values) for values in copies)
    return LayerAudit(name, mask.size, removed, came_back, min(map(_zeros, copies)))


def _zeros(values: np.ndarray) -> int:
    return int(values.size - np.count_nonzero(values))


def require_ok(report: AuditReport) -> AuditReport:
    """Gives the report back if it is ok.

    Raises:
        TfpruneError: anything else, naming the first variable that is wrong.
    """
    if report.verdict == "ok":
        return report
    if report.verdict == "unverified":
        raise TfpruneError(f"{report.source} is unverified: there are no masks to compare with")
    if report.missing:
        raise TfpruneError(
            f"{report.source} failed the audit: the masks name {report.missing[0]}, which it "
            "does not hold in that shape"
        )
    worst = max(report.layers, key=lambda layer: layer.came_back)
    raise TfpruneError(
        f"{report.source} failed the audit: {report.came_back} removed weights came back, "
        f"{worst.came_back} of them in {worst.name}"
    )
