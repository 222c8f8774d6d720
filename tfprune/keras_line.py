"""Which Keras wrote a `.keras` file, told without importing any."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from tfprune.errors import DAMAGED, TfpruneError


def keras_line_of(path: Path) -> int:
    """The major version of the Keras that wrote a `.keras` file: 2 (tf_keras) or 3.

    Reads the archive's metadata only, so that the right Keras can be chosen before
    TensorFlow is imported.

    Raises:
        TfpruneError: the file is missing or is no `.keras` archive.
    """
    if not path.is_file():
        raise TfpruneError(f"there is no file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
        return int(version.partition(".")[0])
    except DAMAGED:
        raise TfpruneError(
            f"{str(path)!r} is no .keras file as Keras's model.save writes it "
            "(a zip archive with metadata.json)"
        ) from None


def choose_keras(line: int) -> None:
    """Has TensorFlow use tf_keras (line 2) or Keras 3, and oneDNN, unless the user chose.

    Its start is quiet. For commands only, and before TensorFlow is imported: the library never
    touches the environment.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1" if line == 2 else "0")
    # By itself TensorFlow takes oneDNN's kernels on processors with AVX-512 VNNI only. With AVX2
    # alone they train a LeNet-5, an AlexNet and a VGG-16 about twice as fast as its own.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
