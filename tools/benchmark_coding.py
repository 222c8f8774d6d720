"""Time and memory of coding large networks, and whether they grow with the weights alone.

    python tools/benchmark_coding.py [--millions=1,4,16,33,64] [--rounds=3]

Dense layers of 4096 outputs, 90% of the weights removed, the rest shared with 5 bits, in a file
of the coder `context`. Encoding and decoding are processes of their own, whose memory is counted
from what they hold with their libraries loaded: the network itself is a part of it. Writes
`results/compression/scale.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarking.peak import Peak

from tfprune.atomic import write_text
from tfprune.compression.codebook import share
from tfprune.compression.coders import CODERS
from tfprune.compression.container import Content, pack, read
from tfprune.compression.tensor import SparseTensor
from tfprune.machine import machine, versions

ROOT = Path(__file__).resolve().parents[1]
_COLUMNS = 4096
_LAYERS = 4
_FILE = "large.tfprune"
_DENSITY = 0.1
_BITS = 5
#: What is promised: seconds at 33 million weights, and memory in sizes of the decoded network.
_BARS = {"encode_seconds": 30, "decode_seconds": 10, "encode_memory": 4, "decode_memory": 4}


def layers(weights: int) -> dict[str, np.ndarray]:
    """Dense layers of so many weights together, pruned and not shared yet."""
    rng = np.random.default_rng(0)
    rows = max(1, round(weights / _COLUMNS / _LAYERS))
    arrays = {}
    for number in range(_LAYERS):
        array = np.zeros(rows * _COLUMNS, np.float32)
        kept = np.flatnonzero(rng.random(array.size, dtype=np.float32) < _DENSITY)
        values = rng.normal(size=len(kept)).astype(np.float32)
        array[kept] = values + np.sign(values)  # a hole around zero, as magnitude leaves it
        arrays[f"fc{number + 1}/kernel"] = array.reshape(rows, _COLUMNS)
    return arrays


def make(folder: Path, millions: int) -> dict[str, float]:
    """Writes the layers of a network, shared, as arrays; in a process of its own."""
    arrays = layers(millions * 1_000_000)
    began = time.perf_counter()
    for array in arrays.values():
        kept = array != 0
        centroids, indices = share(array[kept], _BITS)
        array[kept] = centroids[indices]
    seconds = time.perf_counter() - began
    for name, array in arrays.items():
        np.save(folder / f"{name.replace('/', '+')}.npy", array)
    return {"share_seconds": seconds}


def encode(folder: Path) -> dict[str, float]:
    """Reads the layers and writes the file; in a process of its own."""
    with Peak() as peak:
        arrays = _made(folder)
        began, worked = time.perf_counter(), time.process_time()
        content = Content(3, "3", {}, arrays, frozenset(arrays))
        coder = CODERS["context"]
        codes = {
            name: coder.encode(SparseTensor.from_array(array)) for name, array in arrays.items()
        }
        (folder / _FILE).write_bytes(pack(content, coder, codes))
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    decoded = sum(array.nbytes for array in arrays.values())
    return {
        "weights": decoded // 4,
        "file_bytes": (folder / _FILE).stat().st_size,
        "encode_seconds": seconds,
        "encode_cpu_seconds": cpu,
        "encode_memory": peak.extra_bytes / decoded,
    }


def decode(folder: Path) -> dict[str, float]:
    """Reads the file, and compares every bit; in a process of its own."""
    with Peak() as peak:
        began, worked = time.perf_counter(), time.process_time()
        held, _ = read(folder / _FILE)
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    arrays = _made(folder)
    if any(held.arrays[name].tobytes() != array.tobytes() for name, array in arrays.items()):
        raise SystemExit("the file does not hold what was written")
    decoded = sum(array.nbytes for array in arrays.values())
    return {
        "decode_seconds": seconds,
        "decode_cpu_seconds": cpu,
        "decode_memory": peak.extra_bytes / decoded,
    }


def _made(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem.replace("+", "/"): np.load(path) for path in sorted(folder.glob("*.npy"))}


def measure(millions: int) -> dict[str, float]:
    """One round of one size."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in ("make", "encode", "decode"):
            child = [sys.executable, __file__, f"--step={step}", f"--folder={folder}"]
            child.append(f"--millions={millions}")
            output = subprocess.run(child, check=True, capture_output=True, text=True).stdout
            found |= json.loads(output)
    return found


def table(record: dict) -> str:
    """The record as Markdown."""
    lines = [
        "| weights | file | k-means | encode (CPU) | decode (CPU) | CPU a weight: encode | decode "
        "| peak memory: encode | decode |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in record["rows"]:
        nanoseconds = [
            1e9 * row[f"{what}_cpu_seconds"] / row["weights"] for what in ("encode", "decode")
        ]
        lines.append(
            f"| {row['weights']:,} | {row['file_bytes'] / 1e6:.2f} MB "
            f"| {row['share_seconds']:.2f} s "
            f"| {row['encode_seconds']:.2f} s ({row['encode_cpu_seconds']:.2f} s) "
            f"| {row['decode_seconds']:.2f} s ({row['decode_cpu_seconds']:.2f} s) "
            f"| {nanoseconds[0]:.0f} ns | {nanoseconds[1]:.0f} ns "
            f"| {row['encode_memory']:.2f} x | {row['decode_memory']:.2f} x |"
        )
    processor = record["machine"].get("processor")
    lines += [
        "",
        f"90% of the weights removed, 5 bits, coder `context`; the median of {record['rounds']} "
        "rounds. Memory in sizes",
        "of the decoded network (4 bytes a weight), which is itself counted.",
        f"{processor}, one thread.",
        "Generated by `python tools/benchmark_coding.py`; not to be edited.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", default="1,4,16,33,64", help="sizes, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "compression")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    parser.add_argument("--step", choices=("make", "encode", "decode"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "make":
        print(json.dumps(make(options.folder, int(options.millions))))
        return 0
    if options.step:
        print(json.dumps((encode if options.step == "encode" else decode)(options.folder)))
        return 0
    path = options.out / "scale.json"
    if not options.table:
        rows = []
        for millions in map(int, options.millions.split(",")):
            found = [measure(millions) for _ in range(options.rounds)]
            rows.append({key: float(np.median([row[key] for row in found])) for key in found[0]})
            rows[-1] |= {key: int(rows[-1][key]) for key in ("weights", "file_bytes")}
            print(json.dumps(rows[-1]), flush=True)
        record = {
            "rounds": options.rounds,
            "rows": rows,
            "machine": machine(),
            "versions": versions(),
        }
        write_text(path, json.dumps(record, indent=1) + "\n")
    record = json.loads(path.read_text(encoding="utf-8"))
    write_text(options.out / "scale.md", table(record))
    at_33 = [row for row in record["rows"] if row["weights"] > 32e6]
    missed = [
        f"{key} {row[key]:.2f} of {bar}"
        for row in at_33[:1]
        for key, bar in _BARS.items()
        if row[key] >= bar
    ]
    print("at 33 million: " + (", ".join(missed) if missed else "all bars held"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
