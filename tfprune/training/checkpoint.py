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
from tfprune.errors import DAMAGED, TfpruneError

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

    def __post_init__(self) -> None:
        if len(self.history) != self.epoch or len(self.losses) != self.step:
            raise ValueError("its progress contradicts itself")

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}"


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
        if path.is_file() and not zipfile.is_zipfile(path):  # NumPy would think of pickles
            raise ValueError("it is no zip archive, or truncated")
        with np.load(path, allow_pickle=False) as archive:
            names = sorted(name for name in archive.files if name != "meta")
            arrays = [archive[name] for name in names]
            return arrays, json.loads(archive["meta"].tobytes())
    except FileNotFoundError:
        raise TfpruneError(f"there is no file {str(path)!r}") from None
    except DAMAGED as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise TfpruneError(f"{str(path)!r} is damaged: {cause}") from None


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

    def load(
        self, fingerprint: str, shapes: Sequence[tuple[int, ...]] | None = None
    ) -> tuple[list[np.ndarray], Progress] | None:
        """The newest whole checkpoint of this stage, or None.

        A damaged file is passed over with a warning. A checkpoint of other flags counts as
        none: the stage that calls has already refused or agreed to start anew.

        Args:
            fingerprint: the stage's.
            shapes: those of the arrays; a checkpoint of others is passed over. None: any.
        """
        for path in reversed(self._paths()):
            try:
                arrays, meta = load_arrays(path)
                if meta["fingerprint"] != fingerprint:
                    continue
                progress = Progress(**meta["progress"])
                if shapes is not None and [array.shape for array in arrays] != list(shapes):
                    raise ValueError("it holds the arrays of another model or optimizer")
            except (TfpruneError, KeyError, TypeError, ValueError) as error:
                _LOG.warning("passing over checkpoint %s: %s", path.name, error)
                continue
            _LOG.info("%s: goes on at %s, from checkpoint %s", self._stage, progress, path.name)
            return arrays, progress
        return None

    def clear(self) -> None:
        """Removes this stage's checkpoints, when its result stands."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        digits = "[0-9]"
        return sorted(self._folder.glob(f"{self._stage}-{5 * digits}-{7 * digits}.npz"))
