"""A registry network as a `.keras` file of Keras 3, written from whichever Keras runs here.

The two Kerases can not live in one process, so a child rebuilds the network under Keras 3,
takes the weights by name, saves, and proves the file by loading and running it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.errors import TfpruneError
from tfprune.export.stored import named_variables, named_weights

if TYPE_CHECKING:
    from tfprune.backend import keras

_TIMEOUT_SECONDS = 900


def export_keras3(
    network: str,
    input_shape: Sequence[int],
    classes: int,
    options: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    path: str | Path,
    sample: np.ndarray,
) -> np.ndarray:
    """Writes a network as a Keras 3 `.keras` file and gives the outputs of that file.

    Args:
        network: a name of the registry (`tfprune.models.build`).
        input_shape: (height, width, channels).
        classes: width of the output layer.
        options: further keyword arguments of `build`; None values are left out.
        weights: "layer/variable" -> array for every variable of the network; see
            `tfprune.export.stored.named_weights`.
        path: where the file goes; it ends in ".keras".
        sample: (N, height, width, channels) inputs.

    Returns:
        (N, classes): what the file, loaded again by Keras 3, gives for `sample`. Comparing
        them with the original's is the caller's part.

    Raises:
        TfpruneError: the child process failed; the message is its last line. No file is left.
    """
    package_folder = str(Path(__file__).parents[2])
    search_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {
        "TF_USE_LEGACY_KERAS": "0",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": search_path,
    }
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder:
        job = {
            "network": network,
            "input_shape": list(input_shape),
            "classes": classes,
            "options": {name: value for name, value in options.items() if value is not None},
            "path": str(temporary.absolute()),
        }
        (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        arrays: dict[str, Any] = dict(weights)
        np.savez(Path(folder) / "weights.npz", **arrays)
        np.save(Path(folder) / "sample.npy", sample)
        try:
            child = subprocess.run(
                [sys.executable, "-m", "tfprune.export.keras3", folder],
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TfpruneError(
                f"writing {network} as a Keras 3 file took more than {_TIMEOUT_SECONDS} seconds"
            ) from error
        if child.returncode:
            lines = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
            raise TfpruneError(f"{network} can not be written as a Keras 3 file: {lines[-1]}")
        return np.load(Path(folder) / "outputs.npy")


def _write(folder: Path) -> None:
    """The child's part: build, set the weights, save, load, run."""
    from tfprune.models import build

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    model = build(job["network"], tuple(job["input_shape"]), job["classes"], **job["options"])
    with np.load(folder / "weights.npz", allow_pickle=False) as weights:
        arrays = dict(weights)
    set_named_weights(model, arrays)
    model.save(job["path"])
    # After `build`, so that a job that can not be done ends before TensorFlow is imported.
    from tfprune.backend import keras

    loaded = keras.models.load_model(job["path"], compile=False)
    for name, weight in named_weights(loaded).items():
        if weight.tobytes() != arrays[name].tobytes():
            raise TfpruneError(f"the file written holds another {name}")
    outputs = loaded.predict(np.load(folder / "sample.npy"), batch_size=256, verbose=0)
    np.save(folder / "outputs.npy", outputs)


def set_named_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Sets every weight of a model by its name.

    Args:
        model: a built model.
        weights: "layer/variable" -> array, for each of its variables and no other.

    Raises:
        TfpruneError: names or shapes differ; the message lists them.
    """
    variables = named_variables(model)
    different = sorted(variables.keys() ^ weights.keys())
    if different:
        raise TfpruneError(
            f"the weights must be named as the variables of {model.name!r} are, "
            f"{', '.join(variables)}. Different: {', '.join(different)}"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != weights[name].shape:
            raise TfpruneError(
                f"{name} must have shape {tuple(variable.shape)}. Received: {weights[name].shape}"
            )
        variable.assign(weights[name])


if __name__ == "__main__":
    try:
        _write(Path(sys.argv[1]))
    except TfpruneError as error:
        sys.exit(str(error))
