"""`python -m tfprune.main --flagfile=configs/quickstart.cfg`: one experiment from its flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tfprune import config as config_module
from tfprune.errors import TfpruneError

_HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort", "-?"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the experiment the arguments describe.

    Returns:
        The exit status: 0, or that of the `TfpruneError` that ended it (2 for usage, 1 at
        run time, 130 and 143 for Ctrl-C and SIGTERM). Any other exception is a defect and
        keeps its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if _HELP.intersection(arguments):
        print(config_module.help_text())
        return 0
    try:
        config = config_module.parse(arguments)
        _choose_keras(config)
        from tfprune import experiment  # imports TensorFlow, so only now

        experiment.run(config)
    except TfpruneError as error:
        print(f"tfprune: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("tfprune: interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0


def _choose_keras(config: config_module.Config) -> None:
    """Sets, unless the user did, the Keras TensorFlow is to use, and quiets its start.

    The experiments run on tf_keras (fused batch norm and fused Adam on a CPU, and TFMOT);
    a user's model runs on the Keras that wrote its file.
    """
    line = "2"
    if config.user_model is not None:
        line = config_module.keras_line_of(config.user_model)
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1" if line == "2" else "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


if __name__ == "__main__":
    sys.exit(main())
