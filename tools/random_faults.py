"""Random faulty inputs, and whether each is answered by a clear error.

    python tools/random_faults.py --inputs=500 --seed=0

Draws flags, flagfiles, names of data sets, summaries, records, weights, masks, models, exported
and coded files, spoils them, and gives them to the commands that read them. A clear error is one
line on standard error, exit status 1 or 2, no traceback, nothing half-written. What a command
takes without complaint was no fault (a flag may be drawn right, a byte be one that nobody
reads) and another is drawn. Exit status 0 if every fault has a clear error.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import TINY, answer, half_written, workspace

from tfprune.config import Config

_RUN = Path("runs") / "tiny-seed0"
_DRAWN = Path("drawn")
_WORDS = ("", "x", "-1", "nan", "inf", "1e400", "0x10", "1.5", "None", "ü", "a,b", "=", "'", "%s")
_JUNK: tuple[Any, ...] = (None, True, -1, 1e300, "x", "", [], {}, [1], {"x": [None]}, 10**30)


def _word(draw: random.Random) -> str:
    if draw.random() < 0.7:
        return draw.choice(_WORDS)
    return "".join(chr(draw.randint(33, 0x2FF)) for _ in range(draw.randint(1, 12)))


def _flag(draw: random.Random) -> str:
    field = draw.choice(dataclasses.fields(Config))
    name = field.name
    if draw.random() < 0.2:  # no such flag
        name = name[: draw.randint(1, len(name))] + draw.choice(("", "s", "_", "é"))
    return f"--{name}={_word(draw)}"


def flags(draw: random.Random) -> str:
    """One to three random flags."""
    # A dry run, since they may be right by chance; the last word, since they may undo it.
    drawn = [_flag(draw) for _ in range(draw.randint(1, 3))]
    return shlex.join(["main", *drawn, "--dry_run"])


def flagfile(draw: random.Random) -> str:
    """A flagfile with a spoilt line, cut off, or of random bytes."""
    path = _DRAWN / "random.cfg"
    lines = (_RUN / "flags.cfg").read_text().splitlines()
    kind = draw.randrange(3)
    if kind == 0:
        lines[draw.randrange(len(lines))] = draw.choice((_flag(draw), _word(draw), "--flagfile="))
        path.write_text("\n".join(lines), encoding="utf-8")
    elif kind == 1:
        text = "\n".join(lines)
        path.write_text(text[: draw.randrange(len(text))])
    else:
        path.write_bytes(draw.randbytes(draw.randint(1, 200)))
    return f"main --flagfile={path} --dry_run"


def data_set(draw: random.Random) -> str:
    """A data set that is not there."""
    return shlex.join(["main", f"--dataset={_word(draw)}", f"--runs_dir={_DRAWN}"])


def _spoil(draw: random.Random, path: Path, source: Path) -> None:
    """Copies a file cut off, with bytes changed, with bytes missing, or emptied."""
    content = bytearray(source.read_bytes())
    at = draw.randrange(len(content))
    kind = draw.randrange(4)
    if kind == 0:
        del content[at:]
    elif kind == 1:
        for _ in range(draw.randint(1, 8)):
            content[draw.randrange(len(content))] ^= draw.randint(1, 255)
    elif kind == 2:
        del content[at : at + draw.randint(1, 100)]
    else:
        content[at : at + 64] = bytes(64)
    path.write_bytes(content)


def _spoil_json(draw: random.Random, path: Path, source: Path) -> None:
    """Copies a JSON file with one value, at any depth, replaced or taken out."""
    document = json.loads(source.read_text())
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw.choice(keys)
        if not isinstance(place[key], (dict, list)) or not place[key] or draw.random() < 0.4:
            break
        place = place[key]
    if draw.random() < 0.3:
        del place[key]
    else:
        place[key] = draw.choice(_JUNK)
    path.write_text(json.dumps(document))


def summary(draw: random.Random) -> str:
    """A summary, spoilt as bytes or as JSON."""
    path = _DRAWN / "random.json"
    draw.choice((_spoil, _spoil_json))(draw, path, _RUN / "summary.json")
    return f"report {path} --out={_DRAWN / 'report'} --no-plots"


def record(draw: random.Random) -> str:
    """The record of a stage, spoilt as bytes or as JSON."""
    path = _damaged_run() / "stages" / f"{draw.choice(('prune', 'retrain'))}.json"
    draw.choice((_spoil, _spoil_json))(draw, path, path)
    return f"main {TINY} --runs_dir={_DRAWN} --noexport --nocode --nocontrol"


def stage_weights(draw: random.Random) -> str:
    """The weights of a stage."""
    path = _damaged_run() / "stages" / "retrain.npz"
    _spoil(draw, path, path)
    return f"main {TINY} --runs_dir={_DRAWN} --noexport --nocode --nocontrol"


def run_masks(draw: random.Random) -> str:
    """The masks of a run that is resumed."""
    path = _damaged_run() / "masks.npz"
    _spoil(draw, path, path)
    return f"main {TINY} --runs_dir={_DRAWN} --noexport --nocode --nocontrol"


def _damaged_run() -> Path:
    shutil.copytree("runs", _DRAWN, dirs_exist_ok=True)
    return _DRAWN / _RUN.name


def masks(draw: random.Random) -> str:
    """Masks that a file is verified against."""
    path = _DRAWN / "random.npz"
    _spoil(draw, path, _RUN / "masks.npz")
    return f"verify {_RUN / 'model.tfprune'} --masks={path}"


def coded(draw: random.Random) -> str:
    """A coded file."""
    path = _DRAWN / "random.tfprune"
    _spoil(draw, path, _RUN / "model.tfprune")
    if draw.random() < 0.5:
        return f"verify {path} --masks={_RUN / 'masks.npz'}"
    return f"decompress {path} --to=keras --out={_DRAWN / 'out.keras'}"


def exported(draw: random.Random) -> str:
    """An exported file."""
    name = draw.choice(("pruned.keras", "pruned.weights.h5", "pruned.tflite"))
    path = _DRAWN / f"random-{name}"
    _spoil(draw, path, _RUN / name)
    return f"verify {path} --masks={_RUN / 'masks.npz'}"


def model(draw: random.Random) -> str:
    """A user's model."""
    path = _DRAWN / "random.keras"
    _spoil(draw, path, _RUN / "pruned.keras")
    return f"main --model={path} --dry_run"


#: What is drawn, and how often.
DRAWS: dict[Callable[[random.Random], str], int] = {
    **{flags: 12, flagfile: 6, data_set: 2, summary: 8},
    **{record: 2, stage_weights: 1, run_masks: 1, masks: 4, coded: 5, exported: 4, model: 2},
}


def try_random(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Tries random faults in the working directory, a `workspace`.

    Returns:
        How many of each kind had a clear error; those that had none.
    """
    draw = random.Random(seed)
    clear: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    kinds, weights = list(DRAWS), list(DRAWS.values())
    while clear.total() + len(wrong) < count:
        (kind,) = draw.choices(kinds, weights)
        shutil.rmtree(_DRAWN, ignore_errors=True)
        _DRAWN.mkdir()
        command = kind(draw)
        found = answer(command)
        left = half_written(Path())
        # Exported files have no checksum: what the audit finds in other weights, its table says.
        audited = command.startswith("verify") and found.status == 1 and not found.error
        if (found.status == 0 or audited) and not left:
            continue  # it was no fault
        if found.clear and not left:
            clear[kind.__name__] += 1
        else:
            wrong.append(f"{command}: exit status {found.status}, leaves {left}\n{found.error}")
    return clear, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=500, help="number of faults")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ |= dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # as the command chooses
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TFDS_DATA_DIR"] = ""
    with tempfile.TemporaryDirectory() as scratch:
        workspace(Path(scratch))
        clear, wrong = try_random(options.inputs, options.seed)
        os.chdir("/")
    for text in wrong:
        print(text)
    print(", ".join(f"{kind} {number}" for kind, number in sorted(clear.items())))
    print(f"{clear.total()} of {options.inputs} random faults have a clear error")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
