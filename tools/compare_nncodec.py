"""Sizes of the same quantized tensors by the coder `context`, by nncodec, and by their entropy.

    python3 -m venv /tmp/nncodec && /tmp/nncodec/bin/pip install nncodec
    python tools/compare_nncodec.py --python=/tmp/nncodec/bin/python

nncodec is the reference implementation of ISO/IEC 15938-17 and needs an environment of its own
(NumPy 1, PyTorch). Tensors are the kernels of `results/compression/*.tfprune` and a random layer
without structure. Both coders get integers: 0 for a removed weight, and the values above (below)
zero counted from it, 1, 2, ... (-1, -2, ...). What the integers stand for, a codebook, both need,
4 bytes an entry. Writes `results/compression/coders.json` and `.md`, and exits with status 1 if
the coder needs more bytes than it promises or than nncodec; with `--table` it writes only the
latter, from what was measured before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tfprune.atomic import write_text
from tfprune.compression.codebook import share
from tfprune.compression.coders import CODERS
from tfprune.compression.container import read
from tfprune.compression.tensor import SparseTensor

ROOT = Path(__file__).resolve().parents[1]
#: What the coder promises: this many times the entropy, plus tables, plus bytes a stream.
_FACTOR, _STREAM_BYTES = 1.02, 64


def random_layer() -> np.ndarray:
    """Two million weights, 90% removed anywhere, shared with 5 bits: nothing to learn from."""
    rng = np.random.default_rng(0)
    array = rng.normal(size=(1000, 2000)).astype(np.float32)
    array[rng.random(array.shape) >= 0.1] = 0
    centroids, indices = share(array[array != 0], 5)
    array[array != 0] = centroids[indices]
    return array


def levels_of(tensor: SparseTensor) -> np.ndarray:
    """Integers that tell the values apart, in their order, 0 for a removed weight."""
    assert tensor.codebook is not None
    below = int(np.count_nonzero(tensor.codebook < 0))
    flat = np.zeros(tensor.size, np.int32)
    flat[tensor.positions] = np.where(
        tensor.values < below, tensor.values - below, tensor.values - below + 1
    )
    return flat.reshape(tensor.shape)


def entropy_bytes(symbols: np.ndarray) -> float:
    """Zero-order entropy: n H of the frequencies."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-np.sum(counts * np.log2(counts / symbols.size))) / 8


def measure(paths: list[Path], python: str) -> list[dict]:
    """A row a file: bytes of its kernels by each way of coding them."""
    networks = {}
    for path in paths:
        content, _ = read(path)
        networks[path.stem] = [
            content.arrays[name] for name in content.arrays if name in content.coded
        ]
    networks["random, 2 million weights"] = [random_layer()]
    tensors = {
        name: [SparseTensor.from_array(array) for array in arrays]
        for name, arrays in networks.items()
    }
    tensors = {
        name: [tensor for tensor in each if tensor.codebook is not None]
        for name, each in tensors.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        arrays = {
            f"{name}/{i}": levels_of(tensor)
            for name, each in tensors.items()
            for i, tensor in enumerate(each)
        }
        file = Path(folder) / "tensors.npz"
        np.savez(file, **{str(i): array for i, array in enumerate(arrays.values())})
        child = [python, str(Path(__file__).with_name("nncodec_sizes.py")), str(file)]
        sizes = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE).stdout)
    theirs = dict(zip(arrays, [sizes[str(i)] for i in range(len(arrays))], strict=True))
    rows = []
    for name, each in tensors.items():
        codebooks = sum(tensor.codebook.nbytes for tensor in each)
        rows.append(
            {
                "name": name,
                "weights": sum(tensor.size for tensor in each),
                "kept": sum(tensor.kept for tensor in each),
                "streams": 2 * len(each),
                "codebooks": codebooks,
                "entropy": sum(entropy_bytes(levels_of(tensor)) for tensor in each),
                "context": sum(len(CODERS["context"].encode(tensor)) for tensor in each),
                "huffman": sum(len(CODERS["huffman"].encode(tensor)) for tensor in each),
                "nncodec": sum(theirs[f"{name}/{i}"] for i in range(len(each))) + codebooks,
            }
        )
    return rows


def bound(row: dict) -> float:
    """The bytes that the coder promises to need at most."""
    return _FACTOR * row["entropy"] + row["codebooks"] + _STREAM_BYTES * row["streams"]


def table(rows: list[dict], version: str) -> str:
    """The rows as Markdown."""
    lines = [
        "| kernels of | weights | kept | entropy | codebooks | allowed | **context** | nncodec | "
        "context / nncodec | huffman |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['weights']:,} | {row['kept']:,} | {row['entropy']:,.0f} | "
            f"{row['codebooks']:,} | {bound(row):,.0f} | **{row['context']:,}** | "
            f"{row['nncodec']:,} | {row['context'] / row['nncodec']:.3f} | {row['huffman']:,} |"
        )
    lines += [
        "",
        "Bytes. *Entropy*: zero-order, of the levels of each kernel, removed weights included.",
        f"*Allowed*: {_FACTOR} times that, the codebooks (4 bytes an entry) and {_STREAM_BYTES} "
        "bytes for each of",
        "the two streams of a kernel (positions, values). *Context*, *huffman*: our coders, with",
        f"codebooks. *Nncodec*: version {version}, the smallest of its settings a kernel, and the",
        "same codebooks. Generated by `python tools/compare_nncodec.py`; not to be edited.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", help="of the environment that nncodec is in")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "compression")
    options = parser.parse_args()
    path = options.out / "coders.json"
    if not options.table:
        if not options.python:
            parser.error("--python or --table is needed")
        rows = measure(sorted(options.out.glob("*.tfprune")), options.python)
        ask = "import importlib.metadata as m; print(m.version('nncodec'))"
        version = subprocess.run(
            [options.python, "-c", ask], check=True, capture_output=True, text=True
        ).stdout.strip()
        write_text(path, json.dumps({"nncodec": version, "rows": rows}, indent=1) + "\n")
    record = json.loads(path.read_text(encoding="utf-8"))
    write_text(options.out / "coders.md", table(record["rows"], record["nncodec"]))
    bad = [r["name"] for r in record["rows"] if r["context"] > min(bound(r), r["nncodec"])]
    print("larger than allowed, or than nncodec: " + (", ".join(bad) or "none"))
    return 1 if bad and not options.table else 0


if __name__ == "__main__":
    sys.exit(main())
