"""What each stage of Deep Compression makes of a model, in bytes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from tfprune.compression.paper import gap_bits
from tfprune.compression.relative_index import to_gaps
from tfprune.compression.tensor import SparseTensor


@dataclasses.dataclass(frozen=True)
class CodedLayer:
    """One coded kernel.

    Attributes:
        name: of the variable, "conv1/kernel".
        size: number of weights.
        kept: weights that are not zero.
        codebook: number of shared values; 0 where weights are not shared.
        coded_bytes: of its code, by the coder of the file.
    """

    name: str
    size: int
    kept: int
    codebook: int
    coded_bytes: int


@dataclasses.dataclass(frozen=True)
class CompressionReport:
    """Bytes of a model, stage by stage, each with all variables.

    Attributes:
        coder: the coder of the file.
        dense_bytes: 4 for each value.
        sparse_bytes: a kernel as relative indices (8 or 5 bits) and float32 values, or dense
            where that is less.
        shared_bytes: the same with codebook indices in place of values, and the codebooks; a
            dense kernel with zeros takes one index more. None where no layer shares weights.
        huffman_bytes: a whole file with the coder `huffman`, architecture included.
        context_bytes: a whole file with the coder `context`.
        file_bytes: the file that was written.
        layers: the coded kernels, in model order.
    """

    coder: str
    dense_bytes: int
    sparse_bytes: int
    shared_bytes: int | None
    huffman_bytes: int
    context_bytes: int
    file_bytes: int
    layers: tuple[CodedLayer, ...]

    @property
    def stages(self) -> dict[str, int | None]:
        """Bytes of the model by stage: dense, sparse, shared, huffman, context."""
        return {
            "dense": self.dense_bytes,
            "sparse": self.sparse_bytes,
            "shared": self.shared_bytes,
            "huffman": self.huffman_bytes,
            "context": self.context_bytes,
        }

    def __str__(self) -> str:
        """A table of the stages, then one of the layers."""
        stages = [
            ("dense float32", self.dense_bytes),
            ("pruned, sparse", self.sparse_bytes),
            ("+ weight sharing", self.shared_bytes),
            ("+ Huffman coding (file)", self.huffman_bytes),
            ("+ context coding (file)", self.context_bytes),
        ]
        lines = [f"{'stage':<25} {'bytes':>14} {'ratio':>8}"]
        for name, size in stages:
            if size is not None:
                ratio = f"{self.dense_bytes / size:.1f}x" if size else "-"  # zeros take nothing
                lines.append(f"{name:<25} {size:>14,} {ratio:>8}")
        width = max([len("layer"), *(len(layer.name) for layer in self.layers)])
        lines.append("")
        lines.append(
            f"{'layer':<{width}} {'weights':>12} {'kept':>12} {'codebook':>8} "
            f"{self.coder + ' bytes':>14} {'bits/kept':>9}"
        )
        for layer in self.layers:
            bits = f"{8 * layer.coded_bytes / layer.kept:.2f}" if layer.kept else "-"
            lines.append(
                f"{layer.name:<{width}} {layer.size:>12,} {layer.kept:>12,} "
                f"{layer.codebook or '-':>8} {layer.coded_bytes:>14,} {bits:>9}"
            )
        return "\n".join(lines)


def report_of(
    coder: str,
    tensors: Mapping[str, SparseTensor],
    codes: Mapping[str, bytes],
    others: int,
    files: Mapping[str, int],
) -> CompressionReport:
    """Counts the stages that are not coded and sets the others beside them.

    Args:
        coder: the coder of the file.
        tensors: name -> kernel, in model order.
        codes: name -> code of each kernel in the file.
        others: number of values of all other variables, 4 bytes each.
        files: coder -> bytes of a whole file.
    """
    sparse = shared = 4 * others
    layers = []
    for name, tensor in tensors.items():
        gaps, _ = to_gaps(tensor.positions, gap_bits(tensor.shape))
        position_bits = len(gaps) * gap_bits(tensor.shape)
        as_floats = min(32 * tensor.size, position_bits + 32 * len(gaps))
        entries = 0 if tensor.codebook is None else len(tensor.codebook)
        zero = int(tensor.kept < tensor.size)
        dense_indices = _index_bits(entries + zero) * tensor.size
        sparse_indices = position_bits + _index_bits(entries) * len(gaps)
        as_indices = min(dense_indices, sparse_indices) + 32 * entries
        sparse += _whole_bytes(as_floats)
        shared += _whole_bytes(as_indices if entries else as_floats)
        layers.append(CodedLayer(name, tensor.size, tensor.kept, entries, len(codes[name])))
    return CompressionReport(
        coder=coder,
        dense_bytes=4 * (others + sum(layer.size for layer in layers)),
        sparse_bytes=sparse,
        shared_bytes=shared if any(layer.codebook for layer in layers) else None,
        huffman_bytes=files["huffman"],
        context_bytes=files["context"],
        file_bytes=files[coder],
        layers=tuple(layers),
    )


def _index_bits(values: int) -> int:
    return math.ceil(math.log2(max(2, values)))


def _whole_bytes(bits: int) -> int:
    return (bits + 7) // 8
