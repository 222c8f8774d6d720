"""tfprune: magnitude pruning for Keras. Prune, retrain, prove the zeros, export, report.

The public names are imported when first used, so that `import tfprune` does not import
TensorFlow. Where TensorFlow is already there, our layer classes are registered at once,
and Keras's own `load_model` finds them.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfprune.compression.artifact import load_compressed, save_compressed
    from tfprune.compression.sharing import share_weights
    from tfprune.export.audit import audit
    from tfprune.export.shrink import shrink
    from tfprune.export.tflite import export_tflite
    from tfprune.pruning.callback import PruningCallback
    from tfprune.pruning.pruner import apply_masks, layer_sparsities, load_model, prune, strip
    from tfprune.pruning.schedule import PolynomialSchedule
    from tfprune.pruning.sensitivity import sensitivity

#: Public name -> module that defines it.
_HOMES = {
    "PolynomialSchedule": "tfprune.pruning.schedule",
    "PruningCallback": "tfprune.pruning.callback",
    "apply_masks": "tfprune.pruning.pruner",
    "audit": "tfprune.export.audit",
    "export_tflite": "tfprune.export.tflite",
    "layer_sparsities": "tfprune.pruning.pruner",
    "load_compressed": "tfprune.compression.artifact",
    "load_model": "tfprune.pruning.pruner",
    "prune": "tfprune.pruning.pruner",
    "save_compressed": "tfprune.compression.artifact",
    "sensitivity": "tfprune.pruning.sensitivity",
    "share_weights": "tfprune.compression.sharing",
    "shrink": "tfprune.export.shrink",
    "strip": "tfprune.pruning.pruner",
}

__all__ = [
    "PolynomialSchedule",
    "PruningCallback",
    "apply_masks",
    "audit",
    "export_tflite",
    "layer_sparsities",
    "load_compressed",
    "load_model",
    "prune",
    "save_compressed",
    "sensitivity",
    "share_weights",
    "shrink",
    "strip",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfprune' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


if "tensorflow" in sys.modules:
    importlib.import_module("tfprune.pruning.wrapper")
