"""Which Keras wrote a `.keras` file, told without importing any."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from tfprune.errors import TfpruneError


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
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError):
        raise TfpruneError(
            f"{str(path)!r} is no .keras file as Keras's model.save writes it "
            "(a zip archive with metadata.json)"
        ) from None


def choose_keras(line: int) -> None:
    """Has TensorFlow use tf_keras (line 2) or Keras 3, unless the user chose; quiets its start.

    For commands only, and before TensorFlow is imported: the library never touches the
    environment.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1" if line == 2 else "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
