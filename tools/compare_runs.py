"""Says whether two runs are equal to the bit.

    python tools/compare_runs.py RUNS_DIR OTHER_RUNS_DIR

Compares everything below two `--runs_dir` folders: the same files, equal weights, masks,
records, figures, exported and coded files, and TensorBoard points, none of them doubled.
Times, speeds, memory, and bytes that hold a time (of zip archives and their zipped sizes) are left
out. Prints the differences; exit status 0 without any, 1 with some, 2 for wrong usage.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event

from tfprune.export.stored import read_weights

#: Keys of records and summaries that measure time or memory, or what depends on it.
_MEASURED = {"seconds", "wall_seconds", "images_per_second", "latency_ms", "checksum"}
_MEASURED |= {"peak_memory_bytes"}
_ARCHIVES = {"keras", "keras3", "weights", "shrunk_keras"}
_LEFT_OUT = re.compile(r"(^|/)(cache|logs)/|(^|/)(log\.txt|\.lock-[^/]*)$")


def files(folder: Path) -> dict[str, Path]:
    """The files of a runs folder that are compared, by their path in it."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in sorted(found.items()) if not _LEFT_OUT.search(name)}


def differences(left: Path, right: Path) -> list[str]:
    """What differs between two runs folders, a line each."""
    first, second = files(left), files(right)
    result = [f"{name}: only in one of them" for name in sorted(first.keys() ^ second.keys())]
    for name in sorted(first.keys() & second.keys()):
        a, b = content(first[name]), content(second[name])
        if a != b:
            result.append(f"{name}: {_where(a, b)}")
    for folder in (left, right):
        result += [f"{folder / name}: a point stands twice" for name in doubled_points(folder)]
    return result


def content(path: Path) -> Any:
    """What of a file has to be equal, as a value that `==` compares to the bit."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {key: _bits(archive[key]) for key in archive.files}
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix in (".keras", ".h5"):
        return {f"{w.layer}/{w.variable}": _bits(w.values) for w in read_weights(path)}
    if path.name == "flags.cfg":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not line.startswith(("--runs_dir=", "--run_dir="))]
    if path.name.startswith("events."):
        return {(tag, step): value for tag, step, value in points(path)}
    return path.read_bytes()


def points(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """The points of one event file: tag, step, value; of times and paths no value."""
    data, start = path.read_bytes(), 0
    while start < len(data):  # a record: length (8 bytes), its CRC (4), the event, its CRC (4)
        size = int.from_bytes(data[start : start + 8], "little")
        event = Event.FromString(data[start + 12 : start + 12 + size])
        start += 16 + size
        for value in event.summary.value:
            varies = value.tag in ("images_per_second", "flags")
            yield value.tag, event.step, b"" if varies else value.tensor.SerializeToString()


def doubled_points(folder: Path) -> list[str]:
    """Folders of event files in which a tag has two values of one step."""
    seen: set[tuple[str, str, int]] = set()
    twice = set()
    for path in files(folder).values():
        if path.name.startswith("events."):
            place = str(path.parent.relative_to(folder))
            for tag, step, _ in points(path):
                if (place, tag, step) in seen:
                    twice.add(place)
                seen.add((place, tag, step))
    return sorted(twice)


def _bits(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _timeless(value: Any, archive: bool = False) -> Any:
    if isinstance(value, dict):
        zipped = {"zipped_bytes", "zipped_ratio"}
        out = _MEASURED | zipped | ({"bytes", "ratio"} if archive else set())
        return {
            key: _timeless(item, key in _ARCHIVES) for key, item in value.items() if key not in out
        }
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value


def _where(a: Any, b: Any, place: str = "") -> str:
    """The first place at which two contents differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *b]:
            if key not in a or key not in b or a[key] != b[key]:
                inner = f"{place}[{key!r}]"
                return _where(a.get(key), b.get(key), inner)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        index = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
        return _where(a[index], b[index], f"{place}[{index}]")
    shown = [repr(x) if len(repr(x)) <= 60 else "other bytes" for x in (a, b)]
    return f"{place} differs: {shown[0]}, {shown[1]}"


def main(arguments: list[str]) -> int:
    folders = [Path(argument) for argument in arguments]
    if len(folders) != 2 or not all(folder.is_dir() for folder in folders):
        print(__doc__)
        return 2
    found = differences(*folders)
    print("\n".join(found) or f"equal: {len(files(folders[0]))} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
