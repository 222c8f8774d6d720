"""The tool that times a network's exports before it is trained."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "export_latency.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_table_of_the_dense_and_the_shrunk_network(tmp_path):
    """LeNet-300-100 without half of its neurons: 150 and 50 of 300 and 100."""
    options = ("--model=lenet300_100", "--kinds=float32,dynamic", "--rounds=2")
    result = run(*options, f"--out={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "export_lenet300_100.md").read_text() == result.stdout
    rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines()]
    rows = {tuple(row[:2]): row[2:] for row in rows if row[0] in ("dense", "shrunk")}
    small = 784 * 150 + 150 + 150 * 50 + 50 + 50 * 10 + 10
    for kind in ("float32", "dynamic"):
        assert rows["dense", kind][:2] == ["266,610", "266,200"]
        assert rows["shrunk", kind][:2] == [f"{small:,}", f"{small - 210:,}"]
    assert rows["dense", "float32"][-1] == "1.0x"


def test_unknown_kinds_are_refused():
    result = run("--kinds=float32,int4")
    assert result.returncode == 2 and "received ['float32', 'int4']" in result.stderr
