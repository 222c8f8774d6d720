"""The forms of a run's result that are exported: as pruned, and without what pruning killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.export.shrink import Shrunk, shrink_masks, shrink_with_report
from tfprune.pruning.pruner import strip


@dataclass(frozen=True)
class Form:
    """A plain model, and what its files are compared with.

    Attributes:
        name: "pruned", or "shrunk"; its files are called so.
        model: the model, without wrappers.
        masks: its masks, for the audit; None for one that was not pruned.
    """

    name: str
    model: Any
    masks: Mapping[str, np.ndarray] | None

    def kind(self, kind: str) -> str:
        """Name of a kind of file of this form in `exports`: "tflite", "shrunk_tflite"."""
        return kind if self.name == "pruned" else f"{self.name}_{kind}"


def forms_of(
    model: Any, masks: Mapping[str, np.ndarray] | None
) -> tuple[list[Form], Shrunk | None]:
    """The result as it is, and the shrunk one where shrinking takes something out of it.

    Args:
        model: the result of a run, wrapped or plain.
        masks: its masks; None for a model that was not pruned, which is not shrunk.

    Returns:
        The forms, the smallest last, and what `shrink` reports; None where nothing went.
    """
    plain = strip(model)
    forms = [Form("pruned", plain, masks)]
    if masks is None:
        return forms, None
    shrunk = shrink_with_report(plain)
    if not shrunk.indices:
        return forms, None
    forms.append(Form("shrunk", shrunk.model, shrink_masks(masks, shrunk.indices)))
    return forms, shrunk


def shrink_figures(shrunk: Shrunk | None) -> dict[str, Any] | None:
    """What `shrink` took out, as `summary.json` holds it: pairs of before and after.

    Returns:
        parameters, macs (null for images of open size), units (by layer that lost some); None
        where nothing went.
    """
    if shrunk is None:
        return None
    units = {layer.name: list(layer.units) for layer in shrunk.layers}
    return {
        "parameters": list(shrunk.parameters),
        "macs": None if shrunk.macs is None else list(shrunk.macs),
        "units": {name: pair for name, pair in units.items() if pair[0] != pair[1]},
    }
