"""Checkpoints: one `.npz` file each, atomic, verified on load, the last two kept."""

from __future__ import annotations

import dataclasses
import json
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.errors import TfpruneError

_LOG = logging.getLogger("tfprune")
_KEEP = 2


@dataclasses.dataclass
class Progress:
    """How far a stage of training has come.

    Attributes:
        epoch: epochs finished.
        step: steps of the next epoch that are done; 0 at an epoch's end.
        losses: the loss of each of those steps.
        correct: right answers in those steps.
        seconds: time those steps took.
        history: a record for each finished epoch.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    correct: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def save_arrays(path: Path, arrays: Sequence[np.ndarray], meta: dict[str, Any]) -> None:
    """Writes arrays, in order, and a JSON object into one file, atomically.

    Raises:
        TfpruneError: the file cannot be written; what stood at `path` is untouched.
    """
    named: dict[str, Any] = {f"{number:05d}": array for number, array in enumerate(arrays)}
    named["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **named)


def load_arrays(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Reads what `save_arrays` wrote; each array's CRC-32 is checked as it is read.

    Raises:
        TfpruneError: the file is missing, truncated or altered.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = sorted(name for name in archive.files if name != "meta")
            arrays = [archive[name] for name in names]
            return arrays, json.loads(archive["meta"].tobytes())
    except FileNotFoundError:
        raise TfpruneError(f"there is no file {str(path)!r}") from None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TfpruneError(f"{str(path)!r} is damaged: {error}") from None


class CheckpointFolder:
    """The checkpoints of one stage of one run."""

    def __init__(self, folder: Path, stage: str) -> None:
        self._folder = folder
        self._stage = stage

    def save(self, arrays: Sequence[np.ndarray], progress: Progress, fingerprint: str) -> None:
        """Writes a checkpoint and removes all but the last two."""
        path = self._folder / f"{self._stage}-{progress.epoch:05d}-{progress.step:07d}.npz"
        meta = {"fingerprint": fingerprint, "progress": dataclasses.asdict(progress)}
        save_arrays(path, arrays, meta)
        for old in self._paths()[:-_KEEP]:
            old.unlink(missing_ok=True)

    def load(self, fingerprint: str) -> tuple[list[np.ndarray], Progress] | None:
        """The newest whole checkpoint of this stage, or None.

        A damaged file is passed over with a warning. A checkpoint of other flags counts as
        none: the stage that calls has already refused or agreed to start anew.
        """
        for path in reversed(self._paths()):
            try:
                arrays, meta = load_arrays(path)
                if meta["fingerprint"] != fingerprint:
                    continue
                return arrays, Progress(**meta["progress"])
            except (TfpruneError, KeyError, TypeError) as error:
                _LOG.warning("passing over checkpoint %s: %s", path.name, error)
        return None

    def clear(self) -> None:
        """Removes this stage's checkpoints, when its result stands."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._stage}-*.npz"))
