"""`python -m tfprune.main --flagfile=configs/quickstart.cfg`: one experiment from its flags."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tfprune.command import exit_status_of
from tfprune.config import Config
from tfprune.errors import TfpruneError
from tfprune.flags import help_text, parse
from tfprune.quiet import quiet

_HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort", "-?"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the experiment that the arguments describe; returns the exit status."""
    return exit_status_of(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: Sequence[str]) -> int:
    if _HELP.intersection(arguments):
        print(help_text())
        return 0
    config = parse(arguments)
    choose_keras(config)
    with quiet():
        from tfprune import experiment  # imports TensorFlow, so only now

    experiment.run(config)
    return 0


def choose_keras(config: Config) -> None:
    """Sets, unless the user did, the Keras TensorFlow is to use, and quiets its start.

    The experiments run on tf_keras (fused batch norm and fused Adam on a CPU, and TFMOT);
    a user's model runs on the Keras that wrote its file.
    """
    line = "2" if config.user_model is None else keras_line_of(config.user_model)
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1" if line == "2" else "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def keras_line_of(path: Path) -> str:
    """The major version of the Keras that wrote a `.keras` file: "2" (tf_keras) or "3".

    Reads the archive's metadata only, so that the right Keras can be chosen before
    TensorFlow is imported.

    Raises:
        TfpruneError: the file is missing or is no `.keras` archive.
    """
    if not path.is_file():
        raise TfpruneError(f"--model: there is no file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        raise TfpruneError(
            f"--model: {str(path)!r} is no .keras file as Keras's model.save writes it "
            "(a zip archive with metadata.json)"
        ) from None
    return str(version).partition(".")[0]


if __name__ == "__main__":
    sys.exit(main())
