"""Runs the tests under both Kerases, side by side, each in its own process.

    python tools/run_tests.py [pytest arguments]

Both run the tests that touch Keras. Of the others some that start commands go to tf_keras, which
the commands choose by themselves, and the rest to Keras 3: so both take about as long. With
arguments both run exactly what they name. Exits 0 only if both passed. The slowest tests of each
are listed at its end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What depends on the Keras at work.
BOTH = (
    "tests/compression",
    "tests/test_compress.py",
    "tests/export",
    "tests/models",
    "tests/pruning",
    "tests/training",
    "tests/test_figures.py",
    "tests/test_prune_flags.py",
    "tests/test_readme.py",
    "tests/test_scan.py",
    "tests/test_schedules.py",
    "tests/test_setting.py",
    "tests/test_verify.py",
)
#: What mostly starts commands, which choose their Keras themselves, and waits for them.
COMMANDS = (
    "tests/tools",
    "tests/test_multi_worker.py",
    "tests/test_sensitivity.py",
    "tests/test_share.py",
    "tests/test_sweep.py",
)


def main(arguments: list[str]) -> int:
    runs = {
        "Keras 3": ("0", arguments or [f"--ignore={path}" for path in COMMANDS]),
        "tf_keras": ("1", arguments or [*BOTH, *COMMANDS]),
    }
    started = []
    for name, (legacy, chosen) in runs.items():
        output = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (read after the process ends)
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--durations=20", *chosen],
            cwd=ROOT,
            env=os.environ | {"TF_USE_LEGACY_KERAS": legacy, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        started.append((name, process, output))
    failed = 0
    for name, process, output in started:
        failed += process.wait() != 0
        output.seek(0)
        print(f"== {name}\n{output.read()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
