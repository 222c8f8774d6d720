"""`python -m tfprune.sensitivity --flagfile=configs/quickstart.cfg`: which layers can take it.

Takes the flags of the main command. Trains or finds the dense baseline, measures what pruning
each layer of the group alone costs over a ladder of sparsities, writes `sensitivity.json` and
`sensitivity.png` into the run folder, and proposes an allocation for `--accuracy_budget`
(0.01 where it is not given) and one for `--sparsity`, as flags of the main command.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

from tfprune.command import exit_status_of
from tfprune.config import DEFAULTS, Config
from tfprune.errors import UsageError
from tfprune.flag_field import text_of
from tfprune.flags import asks_for_help, help_text, parse
from tfprune.keras_line import choose_keras, keras_line_of
from tfprune.quiet import quiet

#: In accuracy: one point.
DEFAULT_BUDGET = 0.01

#: Whatever allocation, granularity and schedule a flagfile names, this command scans, single
#: weights of the dense network: flags that do not go with that are set to their defaults.
_FORCED = (
    "--allocation=sensitivity",
    *(
        f"--{name}={text_of(DEFAULTS[name])}"
        for name in (
            *("layer_sparsity", "stddev_quality", "target_bytes", "target_macs", "granularity"),
            *("schedule", "rounds", "round_epochs", "gradual_epochs", "gradual_interval"),
        )
    ),
)

_INTRODUCTION = """\
usage: python -m tfprune.sensitivity --flagfile=configs/quickstart.cfg [--flag=value ...]

Trains or finds the dense baseline of an experiment, prunes each layer of --group alone at each of
--sensitivity_sparsities, and measures what that costs, on images held out of training
(--validation_fraction) or else on a tenth of the training images; never on the test set. It is
single weights that go, whatever --granularity, --schedule and --allocation say. Writes
sensitivity.json and sensitivity.png into the run folder and proposes an allocation for
--accuracy_budget (0.01 unless given) and one for --sparsity, as flags of tfprune.main. The same
command resumes an interrupted scan."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the scan that the arguments describe; returns the exit status."""
    return exit_status_of(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: Sequence[str]) -> int:
    if asks_for_help(arguments):
        print(help_text(_INTRODUCTION))
        return 0
    config = parse([*arguments, *_FORCED])
    if config.strategy != "none":
        raise UsageError(
            f"a scan runs on one device: --strategy must be none; received {config.strategy!r}"
        )
    choose_keras(2 if config.user_model is None else keras_line_of(config.user_model))
    _run(config)
    return 0


def _run(config: Config) -> None:
    with quiet():
        from tfprune.baseline import baseline_folder, dense_model  # imports TensorFlow
        from tfprune.logs import log_to
        from tfprune.run_dir import RunDir
        from tfprune.scan import report_scan, scan
        from tfprune.setting import Setting, configure_tensorflow

    configure_tensorflow(config)
    with log_to(None):
        setting = Setting(config)  # flags that do not fit leave no folder behind
    folder = RunDir(config.run_path)
    with folder.locked(), log_to(folder.log) as log:
        model, _ = dense_model(setting)
        found = scan(setting, baseline_folder(setting), model)
        targets = [{"accuracy_budget": config.accuracy_budget or DEFAULT_BUDGET}]
        if config.sparsity:
            targets.append({"sparsity": config.sparsity})
        report_scan(setting, folder, found, model, targets)
        log.info("wrote %s and %s", folder.sensitivity, folder.sensitivity_plot)


class _CallableModule(types.ModuleType):
    """A callable module, for where it stands in place of the function `tfprune.sensitivity`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from tfprune.pruning.sensitivity import sensitivity

        return sensitivity(*arguments, **options)


if __name__ == "__main__":
    sys.exit(main())

# Once imported, a submodule is the attribute of its package that bears its name.
sys.modules[__name__].__class__ = _CallableModule
