"""Every fault of the table is answered as the table says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_has_the_clear_error_that_the_table_shows():
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "faults.py", "--check"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
