"""Damages a coded file at random, again and again, and reads it each time.

    python tools/random_damage.py results/compression/lenet5_caffe-context.tfprune --count=10000

Bits are flipped, bytes overwritten, taken out, put in, moved and repeated, and the file is cut
short. Each time reading has to end in our own error, and soon: whatever is read, raises another
error, or takes longer than a second is a fault. With `--mend` the checksums are made right
again after the damage; then a file may also be read, as whatever it says now. Prints the faults
and counts; exit status 0 without any, 1 with some.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.compression.container import read
from tfprune.errors import TfpruneError

#: Seconds that reading one file may take.
PATIENCE = 1.0


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one kind of damage; never as it was."""
    while True:
        file = bytearray(content)
        at = int(rng.integers(len(file)))
        count = int(rng.integers(1, 17))
        kind = rng.choice(["flip", "overwrite", "cut", "remove", "insert", "move", "repeat"])
        if kind == "flip":
            for place in rng.integers(len(file), size=int(rng.integers(1, 4))):
                file[place] ^= 1 << int(rng.integers(8))
        elif kind == "overwrite":
            file[at : at + count] = rng.bytes(min(count, len(file) - at))
        elif kind == "cut":
            del file[at:]
        elif kind == "remove":
            del file[at : at + count]
        elif kind == "insert":
            file[at:at] = rng.bytes(count)
        elif kind == "move":
            piece = file[at : at + count]
            del file[at : at + count]
            place = int(rng.integers(len(file) + 1))
            file[place:place] = piece
        else:
            file[at:at] = file[at : at + count]
        if file != content:
            return bytes(file)


def mended(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one section damaged and all checksums right."""
    sections = sections_of(content)
    place = int(rng.integers(len(sections)))
    kind, body = sections[place]
    sections[place] = (kind, damaged(body, rng) if body else rng.bytes(3))
    file = content[:16] + struct.pack("<I", zlib.crc32(content[:16]))
    for number, (kind, body) in enumerate(sections):
        checksum = zlib.crc32(body, zlib.crc32(struct.pack("<IB", number, kind)))
        file += bytes([kind]) + number_bytes(len(body)) + struct.pack("<I", checksum) + body
    return file


def sections_of(content: bytes) -> list[tuple[int, bytes]]:
    """(kind, content) of each section of a whole file."""
    reader = ByteReader(content, "the file")
    reader.take(20)
    sections = []
    while reader.left:
        kind, length = reader.byte(), reader.number(at_most=len(content))
        reader.take(4)
        sections.append((kind, reader.take(length)))
    return sections


def try_damage(content: bytes, count: int, seed: int, mend: bool = False) -> Counter[str]:
    """Reads so many damaged files: outcome -> how often; faults begin with "FAULT"."""
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.tfprune"
        for number in range(count):
            path.write_bytes(mended(content, rng) if mend else damaged(content, rng))
            began = time.monotonic()
            try:
                read(path)
                outcome = "read, as it says now" if mend else f"FAULT: read, number {number}"
            except TfpruneError as error:
                one_line = "\n" not in str(error)
                outcome = "our error" if one_line else f"FAULT: {error}"
            except Exception as error:
                outcome = f"FAULT: {type(error).__name__}: {error}, number {number}"
            if time.monotonic() - began > PATIENCE:
                outcome = f"FAULT: slow, number {number}"
            outcomes[outcome] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tfprune")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mend", action="store_true", help="make checksums right again")
    options = parser.parse_args()
    faults = 0
    for path in options.files:
        outcomes = try_damage(path.read_bytes(), options.count, options.seed, options.mend)
        for outcome, times in outcomes.most_common():
            print(f"{path}: {times:,} x {outcome}")
            faults += times * outcome.startswith("FAULT")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
