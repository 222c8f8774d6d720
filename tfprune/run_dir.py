"""Where every file of a run lives, and which stages stand.

A stage leaves a record, `stages/<stage>.json`: the flags that shaped it, a fingerprint
that also covers the stages before it, and its result. The same command finds it and
skips the stage; other flags are refused, and the message lists what differs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tfprune.atomic import remove_temporaries, write_text
from tfprune.config import DEFAULTS
from tfprune.errors import TfpruneError, UsageError
from tfprune.flag_field import text_of

_LOG = logging.getLogger("tfprune")


def fingerprint(flags: dict[str, Any], *inputs: str) -> str:
    """A short name for flags and what they were applied to: 16 hexadecimal digits."""
    text = json.dumps([flags, *inputs], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _shown(flags: dict[str, Any], name: str) -> str:
    """A flag's value, where flags at their defaults are left out."""
    value = flags.get(name, DEFAULTS.get(name))
    return text_of(tuple(value) if isinstance(value, list) else value)


@dataclasses.dataclass(frozen=True)
class RunDir:
    """A run folder, or one of the shared baselines beside it (same layout)."""

    path: Path

    @property
    def flags(self) -> Path:
        """The effective flags: a flagfile that reruns the run."""
        return self.path / "flags.cfg"

    @property
    def summary(self) -> Path:
        """The figures of the run."""
        return self.path / "summary.json"

    @property
    def masks(self) -> Path:
        """The masks: what an audit compares with."""
        return self.path / "masks.npz"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of stages in progress."""
        return self.path / "checkpoints"

    @property
    def sensitivity(self) -> Path:
        """The sensitivity scan and what it proposes."""
        return self.path / "sensitivity.json"

    @property
    def sensitivity_plot(self) -> Path:
        """The picture of the scan."""
        return self.path / "sensitivity.png"

    @property
    def log(self) -> Path:
        """What the console showed."""
        return self.path / "log.txt"

    @property
    def pruned_keras(self) -> Path:
        """The result, stripped, as the running Keras saves it."""
        return self.path / "pruned.keras"

    @property
    def pruned_keras3(self) -> Path:
        """The result as a Keras 3 file."""
        return self.path / "pruned_keras3.keras"

    @property
    def pruned_weights(self) -> Path:
        """The result's weights alone."""
        return self.path / "pruned.weights.h5"

    @property
    def tflite(self) -> Path:
        """The result as a float32 TFLite file."""
        return self.path / "pruned.tflite"

    def tflite_of(self, form: str, kind: str) -> Path:
        """The result as a TFLite file of another kind or form: "pruned_int8.tflite"."""
        suffix = "" if kind == "float32" else f"_{kind.replace('+', '_')}"
        return self.path / f"{form}{suffix}.tflite"

    @property
    def dense_tflite(self) -> Path:
        """The network before it was pruned as a float32 TFLite file, what others are timed by.

        A baseline keeps it for the runs that share it.
        """
        return self.path / "dense.tflite"

    @property
    def shrunk_keras(self) -> Path:
        """The result without its dead units, as the running Keras saves it."""
        return self.path / "shrunk.keras"

    @property
    def coded(self) -> Path:
        """The result in one small file."""
        return self.path / "model.tfprune"

    def masks_of(self, stage: str) -> Path:
        """The masks a stage of pruning found: of the last round those that audits compare with."""
        return self.masks if stage == "prune" else self.path / "stages" / f"{stage}.npz"

    def weights(self, stage: str) -> Path:
        """The weights a stage of training ended with."""
        return self.path / "stages" / f"{stage}.npz"

    def record(self, stage: str) -> Path:
        """The record of a stage."""
        return self.path / "stages" / f"{stage}.json"

    def begin(self, stage: str, flags: dict[str, Any], mark: str) -> dict[str, Any] | None:
        """Opens a stage: its result if it stands, None if it has to be done.

        Args:
            stage: name of the stage.
            flags: the flags that shape it, shown when they differ from the record's.
            mark: the stage's fingerprint.

        Raises:
            UsageError: the folder holds this stage, begun or done, from other flags.
        """
        held = self.check(stage, flags, mark)
        if not self.record(stage).is_file():
            self._write(stage, flags, mark, None)
        return held

    def check(self, stage: str, flags: dict[str, Any], mark: str | None) -> dict[str, Any] | None:
        """The result of a stage that stands, else None; as `begin`, but writes nothing.

        Args:
            stage: name of the stage.
            flags: the flags that shape it, shown when they differ from the record's.
            mark: the stage's fingerprint; None where the run has no such stage.

        Raises:
            UsageError: the folder holds this stage, begun or done, from other flags.
        """
        if not self.record(stage).is_file():
            return None
        record = self._read(self.record(stage))
        if record["fingerprint"] != mark:
            raise UsageError(self._difference(stage, record["flags"], flags))
        return record["result"]

    def finish(self, stage: str, flags: dict[str, Any], mark: str, result: dict[str, Any]) -> None:
        """Records a stage as done."""
        self._write(stage, flags, mark, result)

    def _write(self, stage: str, flags: dict[str, Any], mark: str, result: Any) -> None:
        record = {"stage": stage, "fingerprint": mark, "flags": flags, "result": result}
        record["checksum"] = fingerprint(record)
        write_text(self.record(stage), json.dumps(record, indent=1, default=list) + "\n")

    def _read(self, path: Path) -> dict[str, Any]:
        """A record, checked; those of older versions have no checksum."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            flags, result, mark = record["flags"], record["result"], record["fingerprint"]
            whole = record.pop("checksum", None) in (None, fingerprint(record))
            if not whole or not isinstance(flags, dict) or not isinstance(mark, str):
                raise ValueError
            if not isinstance(result, dict | None):
                raise ValueError
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise TfpruneError(f"{str(path)!r} is damaged; remove it to redo the stage") from None
        return record

    def _difference(self, stage: str, held: dict[str, Any], flags: dict[str, Any]) -> str:
        flags = json.loads(json.dumps(flags, default=list))
        changes = [
            f"--{name}={_shown(flags, name)} (there: {_shown(held, name)})"
            for name in sorted(held | flags)
            if held.get(name) != flags.get(name)
        ]
        what = ", ".join(changes) or "another input (data, model file or tfprune version)"
        return (
            f"{str(self.path)!r} holds a run whose stage {stage!r} was made with other flags: "
            f"{what}; give another --name or --run_dir, or remove that folder"
        )

    @contextlib.contextmanager
    def locked(self, what: str = "run", *, wait: bool = False) -> Iterator[None]:
        """Holds the folder, or one thing in it, for this process.

        The lock is the operating system's: that of a dead process is free.

        Args:
            what: name of the thing.
            wait: whether to wait for another holder instead of refusing.

        Raises:
            TfpruneError: another process holds it and `wait` is off.
        """
        lock = FileLock(self.path / f".lock-{what}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if not wait:
                    raise TfpruneError(
                        f"another process is running in {str(self.path)!r}"
                    ) from None
                _LOG.info("waiting for another process: %s in %s", what, self.path)
                lock.acquire()
        except OSError as error:
            raise TfpruneError(f"cannot use {str(self.path)!r}: {error.strerror}") from None
        try:
            self._sweep(what)
            yield
        finally:
            lock.release()

    def _sweep(self, what: str) -> None:
        """Removes what a killed holder of the lock left half-written."""
        if what == "run":
            remove_temporaries(self.path, "**/", "*")
            return
        remove_temporaries(self.path, "", f"*.{what}")
        remove_temporaries(self.checkpoints, "", f"{what}-*")
        remove_temporaries(self.path / "stages", "", f"{what}.*")
        remove_temporaries(self.tensorboard / what, "", "*")
