"""Every fault of the table is answered as the table says, and random ones as clearly."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_has_the_clear_error_that_the_table_shows_and_so_have_random_ones():
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "faults.py", "--check", "--random=60"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "60 of 60 random faults have a clear error" in result.stdout
