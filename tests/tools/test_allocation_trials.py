"""The tool that asks a few steps of retraining which layers miss their weights the most."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.flags import parse

ROOT = Path(__file__).parents[2]
PATH = ROOT / "tools" / "allocation_trials.py"
SPEC = importlib.util.spec_from_file_location("allocation_trials", PATH)
tool = importlib.util.module_from_spec(SPEC)
sys.modules["allocation_trials"] = tool  # dataclasses look their module up
SPEC.loader.exec_module(tool)


def test_kilobytes_are_the_entropy_of_the_mask_and_four_bits_a_value():
    # 1 of 2: 2 bits for the mask and 4 for the value; 4 of 4: no bit for the mask, 16.
    assert tool.kilobytes((1, 2)) == pytest.approx(6 / 8000)
    assert tool.kilobytes((4, 4)) == pytest.approx(16 / 8000)
    # 1 of 4: log2 4 + 3 log2 4/3 bits.
    assert tool.kilobytes((1, 4)) == pytest.approx((2 + 3 * math.log2(4 / 3) + 4) / 8000)


def test_a_layer_keeps_one_weight_and_has_no_more_than_all():
    assert tool.scaled((10, 100), 0.8) == (8, 100)
    assert tool.scaled((90, 100), 1.25) == (100, 100)
    assert tool.scaled((1, 100), 0.1) == (1, 100)


def test_a_gain_is_the_loss_a_kilobyte_between_the_extremes():
    before = {"a": (100, 1000), "b": (990, 1000)}
    start = tool.Trial("round 1", before, 1.0)
    trials = [
        ("a", tool.Trial("a x 0.5", before | {"a": (50, 1000)}, 1.3)),
        ("a", tool.Trial("a x 2", before | {"a": (200, 1000)}, 0.9)),
        ("b", tool.Trial("b x 1.25", before | {"b": (1000, 1000)}, 0.9)),
    ]
    grown = tool.kilobytes((200, 1000)) - tool.kilobytes((50, 1000))
    # All of b's weights take fewer bytes than 99% of them: there is no reason to remove any.
    assert tool.gains(start, trials) == {"a": pytest.approx(0.4 / grown), "b": math.inf}


def test_a_layer_of_four_times_the_gain_takes_from_the_other():
    before = {"a": (1000, 100_000), "b": (1000, 100_000)}
    assert tool.nearer(before, {"a": 0.3, "b": 0.3}) == before
    after = tool.nearer(before, {"a": 0.4, "b": 0.1})
    # Equal layers: by the roots, 2 to 1, of as many bytes.
    assert after["a"][0] / after["b"][0] == pytest.approx(2, rel=0.01)
    assert after["a"][0] < 1500


COUNTS = st.integers(200, 2000).flatmap(
    lambda size: st.tuples(st.integers(1, size // 3), st.just(size))
)
GAINS = st.floats(0, 1e3) | st.just(math.inf)


@given(st.lists(st.tuples(COUNTS, GAINS), min_size=1, max_size=6))
def test_an_allocation_takes_no_more_bytes_and_no_large_step(layers):
    before = {str(i): weights for i, (weights, _) in enumerate(layers)}
    after = tool.nearer(before, {str(i): gain for i, (_, gain) in enumerate(layers)})
    total = sum(map(tool.kilobytes, before.values()))
    everything_shrinks = sum(
        tool.kilobytes(tool.scaled(weights, 1.5 if gain == math.inf else 1 / 1.5))
        for weights, gain in layers
    )
    assert sum(map(tool.kilobytes, after.values())) <= max(total, everything_shrinks) + 1e-12
    for name, (kept, size) in after.items():
        assert size == before[name][1] and 1 <= kept <= size
        assert before[name][0] / 1.5 - 1 <= kept <= before[name][0] * 1.5 + 1


def run(folder, *flags):
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, str(PATH), f"--flagfile={ROOT / 'configs/quickstart.cfg'}", *flags],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


QUICK = ("--epochs=1", "--lr_boundaries=", "--threads=1", "--noprogress", "--notensorboard")


def test_rounds_on_a_network_end_with_flags_of_the_main_command(tmp_path):
    result = run(tmp_path, *QUICK, "--steps=8", "--rounds=2", "--keep=0.7,1.4", "--out=t.md")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "t.md").read_text()
    assert text.strip() in result.stdout
    assert text.count("| dense | ") == 2 and text.count("| fc2 x 1.4 | ") == 2
    first, second = (
        parse(line.removeprefix("as flags: ").split()).sparsity_by_layer()
        for line in re.findall("^as flags: .*$", text, re.MULTILINE)
    )
    assert set(first) == set(second) == {"fc1", "fc2"}
    kilobytes = [float(cell) for cell in re.findall(r"round \d \| [\d,]+ / [\d,]+ \| (\S+)", text)]
    assert kilobytes[1] == pytest.approx(kilobytes[0], rel=0.01)
    # The second round begins where the first one ended: (1 - s) of 30,720 and 10,080 weights.
    kept = int(re.search(r"round 2 \| ([\d,]+) / 40,800", text)[1].replace(",", ""))
    wanted = (1 - first["fc1"]) * 30720 + (1 - first["fc2"]) * 10080
    assert kept == pytest.approx(wanted, abs=3)  # flags have four decimals


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--sparsity=0", "received --sparsity=0, --steps=60"),
        ("--steps=3", "from 4 steps to those of an epoch"),
        ("--keep=0", "--keep takes factors above 0"),
        ("--rounds=0", "--rounds takes a number from 1; received 0"),
        ("--keep=many", "received 'many'"),
    ],
)
def test_what_cannot_be_tried_is_refused(tmp_path, flag, words):
    result = run(tmp_path, *QUICK, flag)
    assert result.returncode == 2 and words in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 10 and "Traceback" not in result.stderr
