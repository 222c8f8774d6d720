import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from benchmarking.growth import steepest  # noqa: E402
from benchmarking.peak import Peak  # noqa: E402
from benchmarking.record import (  # noqa: E402
    Line,
    Record,
    Side,
    compared,
    read_record,
    write_record,
)
from benchmarking.rounds import (  # noqa: E402
    Contender,
    ContenderError,
    Timings,
    alternate,
    ratio,
)
from benchmarking.table import markdown  # noqa: E402

LINE = Line(
    "a step", "time", 1.02, 5, Side("ours", 0.1234, 0.2), Side("theirs", 0.121, 0.19),
    at_most=1.03, floor=0.05, floor_of="7 G operations", note="a note",
)  # fmt: skip
RECORD = Record(
    "training", [LINE], ["torch"], {"bytes_per_second": 2e10, "operations_per_second": 1.5e11},
    1.5, False, {}, {"numpy": "2.0"}, {"processor": "P", "cores": 2, "system": "S"},
)  # fmt: skip


def _python(code, **more):
    return Contender(code, "start:command", {"arguments": ["-c", code]}, **more)


def _tool(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "benchmark.py"), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_ratio_is_the_median_of_the_ratios_of_paired_rounds():
    # 2/1, 3/2, 40/10: the medians alone would give 3/2.
    assert ratio([2.0, 3.0, 40.0], [1.0, 2.0, 10.0]) == 2.0


def test_a_contender_in_fewer_rounds_is_paired_with_the_first_of_them():
    assert ratio([2.0, 6.0, 100.0], [1.0, 2.0]) == 2.5


def test_speed_is_the_inverse_of_time_and_seconds_are_medians_a_piece_of_work():
    ours, theirs = Timings([2.0, 4.0, 3.0], [8.0, 8.0, 8.0]), Timings([4.0, 4.0, 12.0], [1.0] * 3)
    pair = ("a", ours), ("b", theirs)
    speed = compared("x", "speed", *pair, per=2, at_least=2)
    assert (speed.value, speed.ours, speed.held) == (2.0, Side("a", 1.5, 4.0), True)
    assert compared("x", "time", *pair).value == 0.5


@pytest.mark.parametrize(
    ("bars", "held"),
    [
        ({"at_most": 1.02}, True),
        ({"at_most": 1.01}, False),
        ({"at_most": None, "at_least": 1.02}, True),
        ({"at_most": None, "at_least": 1.03}, False),
        ({"at_most": None}, None),
    ],
)
def test_a_bar_is_held_at_its_value_and_where_there_is_none_nothing_is_said(bars, held):
    assert replace(LINE, **bars).held is held


def test_an_unknown_figure_is_refused():
    with pytest.raises(ValueError, match="figure must be one of time, speed"):
        replace(LINE, figure="tempo")


def test_growth_is_that_of_the_steepest_step_and_linear_is_one():
    assert steepest([1, 4, 16], [1.0, 4.0, 16.0]) == 1.0
    assert steepest([10, 100, 1000], [1.0, 5.0, 100.0]) == 2.0


def test_contenders_take_turns_and_slow_ones_fewer(tmp_path):
    timings = alternate(
        [_python("pass"), _python("import time; time.sleep(0.2)", rounds=1, warm_up=False)],
        3,
        log=tmp_path / "log.txt",
        warm_up=0,
    )
    fast, slow = timings.values()
    assert (len(fast.wall), len(slow.wall)) == (3, 1)
    assert slow.wall[0] >= 0.2 > slow.cpu[0] > 0


def test_a_peak_is_what_was_held_at_once_beyond_what_was_there_before():
    before = np.ones(4_000_000)
    with Peak() as peak:
        for _ in range(3):
            np.ones(8_000_000).sum()
    assert 60e6 < peak.extra_bytes < 120e6
    assert before.nbytes == 32e6


def test_a_missing_peer_is_left_out(tmp_path, monkeypatch):
    gone = "raise ModuleNotFoundError('no torch', name='torch')"
    (tmp_path / "torch.py").write_text(gone)
    monkeypatch.syspath_prepend(tmp_path)
    torch = Contender("torch", "peers:torch_prune", {"shapes": [(2, 2)]})
    timings = alternate([torch, _python("pass")], 1, log=tmp_path / "log.txt", warm_up=0)
    assert list(timings) == ["pass"]


def test_a_contender_that_fails_ends_the_measurement_with_its_traceback(tmp_path):
    with pytest.raises(ContenderError, match=r"(?s)exit status 1: .*NameError"):
        alternate([_python("wrong")], 1, log=tmp_path / "log.txt")


def test_a_record_comes_back_from_its_file_in_four_digits(tmp_path):
    write_record(tmp_path / "a.json", replace(RECORD, minutes=1.23456))
    assert read_record(tmp_path / "a.json") == replace(RECORD, minutes=1.235)


def test_the_table_says_what_ours_beside_figure_bar_and_floor():
    table = markdown([RECORD])
    assert table.startswith("1 of 1 bars held.\n")
    assert (
        "| a step | ours | theirs | **time x 1.02** | ≤ 1.03 | yes | 0.123 (0.200) "
        "| 0.121 (0.190) | 0.0500 (7 G operations) | 2.47 | 5 |\n"
    ) in table
    assert "- a step, ours: a note.\n" in table
    assert "Not installed, and so not measured: torch." in table
    assert "memory 20 GB/s, matrix products 150 G operations/s" in table
    assert "On P, 2 cores, S; numpy 2.0; 2 minutes" in table
    assert "--quick" not in table and "--quick" in markdown([replace(RECORD, quick=True)])
    missed = markdown([replace(RECORD, lines=[replace(LINE, at_most=1.0)])])
    assert missed.startswith("0 of 1 bars held.\n") and "| ≤ 1 | **no** |" in missed


def test_the_tool_measures_writes_and_makes_the_same_table_again(tmp_path):
    done = _tool("--quick", "--rounds=1", "--only=reporting", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    (line,) = json.loads((tmp_path / "reporting.json").read_text())["lines"]
    assert line["what"] == "report over 10 runs, tables and plots" and line["value"] > 0
    table = (tmp_path / "performance.md").read_bytes()
    (tmp_path / "performance.md").unlink()
    assert _tool("--table", f"--out={tmp_path}").returncode == 0
    assert (tmp_path / "performance.md").read_bytes() == table


def test_an_unknown_measurement_is_refused():
    refused = _tool("--only=speed")
    assert refused.returncode == 2
    assert "--only takes start, reporting, " in refused.stderr and "speed" in refused.stderr
