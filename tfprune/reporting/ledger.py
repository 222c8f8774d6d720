"""The ledger: how many bytes a model takes, by layer, by part, and by kind of file.

NumPy only. The parts are counted without entropy coding, so that they can be checked by hand;
the files are what lies on the disk. Every ratio is against the same figure: the float32 values
of all variables of the network before it was pruned, batch norm averages included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfprune.pruning.budget import layer_bytes

#: Parts of a layer, in the order of tables, and what they are called there.
PARTS = {
    "weights": "kept weights",
    "indices": "indices",
    "codebooks": "codebooks",
    "biases": "biases",
    "batch_norm": "batch norm",
    "other": "other",
}

_FLOAT32 = 4


@dataclass(frozen=True)
class KernelContent:
    """One prunable variable.

    Attributes:
        size: number of weights, N.
        kept: how many of them are not removed, k.
        codebook: how many different values they share, c; 0 where each has its own.
    """

    size: int
    kept: int
    codebook: int = 0

    def parts(self) -> dict[str, int]:
        """Bytes of its parts.

        weights: 4 k, or with a codebook ceil(k ceil(log2 c) / 8); indices: the positions of
        the kept weights, ceil(N H(k / N) / 8) with the binary entropy H, as in
        `tfprune.pruning.budget.layer_bytes`; codebooks: 4 c.
        """
        values = _FLOAT32 * self.kept
        indices = layer_bytes(self.size, self.kept) - values
        if self.codebook:
            bits = math.ceil(math.log2(max(2, self.codebook)))
            values = math.ceil(bits * self.kept / 8)
        return {"weights": values, "indices": indices, "codebooks": _FLOAT32 * self.codebook}


@dataclass(frozen=True)
class LayerContent:
    """What a layer holds.

    Attributes:
        name: path of the layer.
        kernels: its prunable variables.
        biases: number of values in its biases.
        batch_norm: of a batch norm all values, averages too; 0 for other layers.
        other: number of values of all other variables.
    """

    name: str
    kernels: tuple[KernelContent, ...] = ()
    biases: int = 0
    batch_norm: int = 0
    other: int = 0

    @property
    def dense_bytes(self) -> int:
        """Bytes of the float32 values of all its variables."""
        beside = self.biases + self.batch_norm + self.other
        return _FLOAT32 * (sum(kernel.size for kernel in self.kernels) + beside)

    def parts(self) -> dict[str, int]:
        """Part -> bytes, for every key of `PARTS`."""
        total = {part: _FLOAT32 * getattr(self, part, 0) for part in PARTS}
        for kernel in self.kernels:
            for part, size in kernel.parts().items():
                total[part] += size
        return total


def ledger(
    layers: Sequence[LayerContent], exports: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The ledger of a model, as `summary.json` holds it.

    Args:
        layers: what its layers hold.
        exports: kind of file -> figures with `bytes` and `zipped_bytes`, as in the summary.

    Returns:
        dense_bytes; parts (part -> bytes), bytes (their sum) and ratio; layers (name, the
        same, and the parts by name); files (kind -> bytes, zipped_bytes, ratio, zipped_ratio).
        A ratio is dense_bytes / bytes, null where there are none.
    """
    rows: list[dict[str, Any]] = []
    for layer in layers:
        own, dense = layer.parts(), layer.dense_bytes
        size = sum(own.values())
        row = {"name": layer.name, "dense_bytes": dense, **own}
        rows.append(row | {"bytes": size, "ratio": _ratio(dense, size)})
    dense = sum(layer.dense_bytes for layer in layers)
    parts = {part: sum(row[part] for row in rows) for part in PARTS}
    files = {
        kind: {
            "bytes": figures.get("bytes"),
            "zipped_bytes": figures.get("zipped_bytes"),
            "ratio": _ratio(dense, figures.get("bytes")),
            "zipped_ratio": _ratio(dense, figures.get("zipped_bytes")),
        }
        for kind, figures in exports.items()
    }
    total = sum(parts.values())
    return {
        "dense_bytes": dense,
        "parts": parts,
        "bytes": total,
        "ratio": _ratio(dense, total),
        "layers": rows,
        "files": files,
    }


def ledger_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A ledger as rows of a table, the head first and the whole model last.

    Parts that no layer has are left out.
    """
    shown = [part for part in PARTS if found["parts"][part]]
    rows = [("layer", "dense float32", *(PARTS[part] for part in shown), "all", "ratio")]
    total = {"name": "all", **found["parts"], **found}
    for row in [*found["layers"], total]:
        cells = [f"{row[key]:,}" for key in ("dense_bytes", *shown, "bytes")]
        rows.append((row["name"], *cells, times(row["ratio"])))
    return rows


def times(ratio: float | None) -> str:
    """A ratio as tables show it: `12.3x`; a dash for None."""
    return "–" if ratio is None else f"{ratio:.1f}x"


def _ratio(dense: int, size: int | None) -> float | None:
    return dense / size if size else None
