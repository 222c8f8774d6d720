"""The flags of pruning, from the command line to the masks, on the bundled digits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune.config import Config
from tfprune.flags import parse
from tfprune.pruning.budget import layer_bytes
from tfprune.pruning.curves import Proposal
from tfprune.pruning.macs import macs
from tfprune.pruning.masks import load_masks
from tfprune.pruning.pruner import get_masks, prune
from tfprune.pruning_flags import criterion_data, prune_arguments
from tfprune.setting import Setting

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """Gives a function: flags -> (setting, fresh network, what they make of it)."""
    runs_dir = tmp_path_factory.mktemp("runs")

    def from_flags(*flags):
        setting = Setting(parse([f"--runs_dir={runs_dir}", *flags]))
        model = setting.new_model()
        return setting, model, prune(model, **prune_arguments(setting, model))

    return from_flags


def removed(model):
    """Layer -> weights removed, of the kernels."""
    masks = {k: m for k, m in get_masks(model).items() if k.endswith("/kernel")}
    return {k.removesuffix("/kernel"): int((~m).sum()) for k, m in masks.items()}


DEFAULT_ARGUMENTS = {
    "sparsity": 0.9,
    "layers": ["fc"],
    "exclude": (),
    "allocation": "global",
    "layer_sparsity": None,
    "quality": None,
    "target_bytes": None,
    "target_macs": None,
    "granularity": "weight",
    "criterion": "magnitude",
    "criterion_rounds": None,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        ({}, {}),
        ({"sparsity": 0.7, "seed": 3}, {"sparsity": 0.7, "seed": 3}),
        (
            {"group": "conv,fc2", "exclude_layers": ("conv1", "c*2")},
            {"layers": ["conv", "fc2"], "exclude": ("conv1", "c*2")},
        ),
        ({"allocation": "lamp"}, {"allocation": "lamp"}),
        (
            {"allocation": "explicit", "layer_sparsity": ("fc1=0.5", "fc*=0.25")},
            {
                "sparsity": None,
                "allocation": "explicit",
                "layer_sparsity": {"fc1": 0.5, "fc*": 0.25},
            },
        ),
        (
            {"allocation": "stddev", "stddev_quality": 0.75},
            {"sparsity": None, "allocation": "stddev", "quality": 0.75},
        ),
        ({"allocation": "stddev"}, {"allocation": "stddev"}),  # the quality is solved for
        ({"target_bytes": 60000}, {"sparsity": None, "target_bytes": 60000}),
        ({"target_macs": 300000}, {"sparsity": None, "target_macs": 300000}),
        ({"granularity": "filter"}, {"granularity": "filter"}),
        ({"granularity": "2:4"}, {"sparsity": None, "granularity": "2:4"}),
        (
            {"criterion": "synflow", "criterion_rounds": 7},
            {"criterion": "synflow", "criterion_rounds": 7},
        ),
    ],
)
def test_the_arguments_of_prune_that_flags_stand_for(flags, changed):
    found = prune_arguments(Setting(Config(dry_run=True, **flags)), None)
    assert found == DEFAULT_ARGUMENTS | changed


def test_the_sparsity_of_a_round_and_a_proposal_stand_in_the_place_of_that_of_the_flags():
    setting = Setting(Config(dry_run=True, seed=3, criterion="random"))
    expected = DEFAULT_ARGUMENTS | {"sparsity": 0.5, "seed": 3, "criterion": "random"}
    assert prune_arguments(setting, None, 0.5) == expected
    proposed = Proposal({"fc1": 15360, "fc2": 0}, {"fc1": 30720, "fc2": 10080}, 0.0)
    assert prune_arguments(setting, None, 0.5, proposed) == {
        "layer_sparsity": {"fc1": 0.5, "fc2": 0.0},
        "criterion": "random",
        "seed": 3,
    }


def test_erk_from_flags(pruned):
    # By hand: fc1 256 x 120, fc2 120 x 84. Of 30720 + 10080 weights 4080 stay, 4080 x 376 / 580
    # = 2644.97 in fc1, 1435.03 in fc2; 28075.03 and 8644.97 go, the larger remainder rounds up.
    _, _, model = pruned("--allocation=erk")
    assert removed(model) == {"fc1": 28075, "fc2": 8645}


def test_a_map_by_layer_from_flags(pruned):
    flags = ("--allocation=explicit", "--group=all", "--layer_sparsity=fc1=0.9,conv*=0.5,*=0.2")
    _, _, model = pruned(*flags)
    assert removed(model) == {"conv1": 75, "conv2": 1200, "fc1": 27648, "fc2": 2016}


def test_budgets_from_flags(pruned):
    _, dense, model = pruned("--target_bytes=60000", "--group=all", "--allocation=lamp")
    sizes = {k: m.size for k, m in get_masks(model).items() if k.endswith("/kernel")}
    others = sum(w.size for w in dense.get_weights()) - sum(sizes.values())
    gone = removed(model)
    used = 4 * others + sum(layer_bytes(n, n - gone[k.split("/")[0]]) for k, n in sizes.items())
    assert 59_990 < used <= 60_000
    _, _, model = pruned("--target_macs=100000", "--group=all")
    assert 99_000 < sum(kept for _, kept in macs(model).values()) <= 100_000


def test_filters_and_two_of_four_from_flags(pruned):
    _, _, model = pruned("--granularity=filter", "--group=conv", "--sparsity=0.5")
    alive = [get_masks(model)[f"{name}/kernel"].any(axis=(0, 1, 2)) for name in ("conv1", "conv2")]
    assert sum(int((~units).sum()) for units in alive) == 11  # of 6 + 16
    _, _, model = pruned("--granularity=2:4")
    assert removed(model) == {"fc1": 30720 // 2, "fc2": 10080 // 2}


def test_snip_sees_images_of_the_training_split_drawn_by_the_seed(pruned):
    setting, model, first = pruned("--criterion=snip", "--criterion_images=40")
    images, labels = criterion_data(setting, model)["data"]
    assert images.shape == (40, 28, 28, 1) and labels.shape == (40,)
    train = setting.normalization(setting.dataset.train.images).numpy()
    known = {image.tobytes() for image in train}
    assert all(image.tobytes() in known for image in images)
    _, _, again = pruned("--criterion=snip", "--criterion_images=40")
    _, _, other = pruned("--criterion=snip", "--criterion_images=41")
    masks = [get_masks(model)["fc1/kernel"] for model in (first, again, other)]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()
    assert criterion_data(Setting(parse([])), model) == {}


def test_a_whole_run_by_snip_filters_and_a_budget(tmp_path):
    flags = ["--epochs=1", "--retrain_epochs=1", "--nocontrol", "--noexport", "--noprogress"]
    flags += ["--notensorboard", "--name=r", "--group=conv", "--batch_size=32"]
    flags += ["--criterion=snip", "--granularity=filter", "--target_macs=150000"]
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    result = subprocess.run(
        [sys.executable, "-m", "tfprune.main", *flags],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "runs/r-seed0/summary.json").read_text())
    assert summary["allocation"] == "global, target_macs=150000, filter"
    assert summary["criterion"] == "snip" and summary["macs_pruned"] <= 150_000
    assert summary["target_sparsity"] == pytest.approx(summary["group_sparsity"], abs=1e-4)
    assert set(summary["audit"].values()) == {"ok"}
    masks = load_masks(tmp_path / "runs/r-seed0/masks.npz")
    for name in ("conv1", "conv2"):
        units = masks[f"{name}/kernel"]
        np.testing.assert_array_equal(units.all(axis=(0, 1, 2)), units.any(axis=(0, 1, 2)))
        np.testing.assert_array_equal(masks[f"{name}/bias"], units.any(axis=(0, 1, 2)))
