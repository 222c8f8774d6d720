"""Damage to a file is always noticed; the tool that says so notices when it is not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import random_damage  # noqa: E402

GOLDEN = sorted((ROOT / "tests" / "compression" / "golden").glob("*.tfprune"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_damage_is_our_error(path):
    outcomes = random_damage.try_damage(path.read_bytes(), 400, seed=1)
    assert outcomes == {"our error": 400}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_with_right_checksums_nothing_worse_than_other_weights_comes_of_it(path):
    outcomes = random_damage.try_damage(path.read_bytes(), 400, seed=2, mend=True)
    assert set(outcomes) <= {"our error", "read, as it says now"}
    assert outcomes["our error"] > 100


def test_a_mended_file_has_right_checksums():
    content = GOLDEN[0].read_bytes()
    mended = random_damage.mended(content, np.random.default_rng(0))
    assert mended != content and mended[:20] == content[:20]
    assert len(random_damage.sections_of(mended)) == len(random_damage.sections_of(content))


def test_a_fault_is_counted(monkeypatch):
    monkeypatch.setattr(random_damage, "read", lambda path: None)
    outcomes = random_damage.try_damage(b"x" * 50, 3, seed=0)
    assert sum(outcomes.values()) == 3
    assert all(outcome.startswith("FAULT: read") for outcome in outcomes)


def test_the_command(tmp_path):
    command = [sys.executable, ROOT / "tools" / "random_damage.py", "--count=20", GOLDEN[0]]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "20 x our error" in result.stdout
