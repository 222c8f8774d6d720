"""`python -m tfprune.main --flagfile=configs/quickstart.cfg`: one experiment from its flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tfprune.cluster import cluster_of
from tfprune.command import exit_status_of
from tfprune.flags import asks_for_help, help_text, parse
from tfprune.keras_line import choose_keras, keras_line_of
from tfprune.quiet import quiet


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the experiment that the arguments describe; returns the exit status."""
    return exit_status_of(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: Sequence[str]) -> int:
    if asks_for_help(arguments):
        print(help_text())
        return 0
    config = parse(arguments)
    if config.strategy == "multi_worker":
        cluster_of(os.environ.get("TF_CONFIG"))  # what is wrong there comes out at once
    # The experiments run on tf_keras (fused batch norm and fused Adam on a CPU, and TFMOT), a
    # user's model on the Keras that wrote its file.
    choose_keras(2 if config.user_model is None else keras_line_of(config.user_model))
    with quiet():
        from tfprune import experiment  # imports TensorFlow, so only now

    experiment.run(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
