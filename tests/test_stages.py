"""A stage of pruning in a run folder: found there, or done again where it does not belong."""

import numpy as np
import pytest

from tfprune import stages
from tfprune.backend import keras
from tfprune.config import Config
from tfprune.export.audit import audit
from tfprune.pruning.curves import Proposal
from tfprune.pruning.masks import load_masks, save_masks
from tfprune.pruning.pruner import get_masks
from tfprune.rounds import rounds_of
from tfprune.run_dir import RunDir
from tfprune.setting import Setting
from tfprune.stages import prune_round

SIZES = {"fc1": 784 * 300, "fc2": 300 * 100}
PROPOSED = Proposal({"fc1": 200_000, "fc2": 1}, SIZES, 0.0)


def normed_network(path):
    """A network whose batch norm dies with the filters before it."""
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(8, 5, 4, name="conv")(image)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization(name="norm")(x))
    keras.Model(image, keras.layers.Dense(10, name="out")(x)).save(path)


@pytest.fixture
def begin(tmp_path):
    """Gives a function: flags -> (setting, run folder, round, fresh network)."""

    def from_flags(**flags):
        if flags.get("model") == "normed.keras":
            flags["model"] = str(tmp_path / "normed.keras")
            normed_network(flags["model"])
        recipe = {"model": "lenet300_100", "runs_dir": str(tmp_path), "name": "run"}
        setting = Setting(Config(**recipe | flags))
        (item,) = rounds_of(setting)
        return setting, RunDir(setting.config.run_path), item, setting.new_model()

    return from_flags


def forbidden(*arguments, **options):
    raise AssertionError("scores, or a proposal, were asked for again")


def equal(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


@pytest.mark.parametrize(
    ("flags", "propose"),
    [
        ({}, None),
        ({"criterion": "snip", "allocation": "erk"}, None),
        ({"criterion": "random", "exclude_layers": ("fc2",)}, None),
        ({"allocation": "explicit", "layer_sparsity": ("fc*=0.5",)}, None),
        ({"allocation": "sensitivity"}, lambda: PROPOSED),
        ({"model": "normed.keras", "group": "conv", "granularity": "filter"}, None),
    ],
)
def test_masks_that_stand_are_set_and_nothing_is_scored_again(begin, monkeypatch, flags, propose):
    setting, folder, item, model = begin(**flags)
    pruned, held = prune_round(setting, folder, item, model, propose)
    monkeypatch.setattr(stages, "prune_arguments", forbidden)
    again, found = prune_round(setting, folder, item, model, forbidden)
    assert found == held and 0 <= held["test_accuracy"] <= 1
    masks = get_masks(pruned)
    assert list(get_masks(again)) == list(masks) and not all(m.all() for m in masks.values())
    assert equal(again, pruned)


def test_other_weights_are_pruned_again_which_the_audit_tells(begin):
    setting, folder, item, model = begin()
    prune_round(setting, folder, item, model)
    model.set_weights([-2 * array[::-1] for array in model.get_weights()])
    again, _ = prune_round(setting, folder, item, model)
    report = audit(again, load_masks(folder.masks))
    assert report.verdict == "failed" and report.came_back > 0


@pytest.mark.parametrize("spoilt", ["other", "damaged", "missing"])
def test_masks_that_are_not_those_of_the_record_are_not_set(begin, spoilt):
    setting, folder, item, model = begin()
    pruned, held = prune_round(setting, folder, item, model)
    masks = load_masks(folder.masks)
    masks["fc1/kernel"][0, :2] = ~masks["fc1/kernel"][0, :2]
    if spoilt == "other":
        save_masks(folder.masks, masks)
    elif spoilt == "damaged":
        folder.masks.write_bytes(folder.masks.read_bytes()[:-9])
    else:
        folder.masks.unlink()
    again, found = prune_round(setting, folder, item, model)
    assert equal(again, pruned) and found == held


def test_a_record_of_an_older_version_has_its_masks_found_again(begin):
    setting, folder, item, model = begin()
    pruned, held = prune_round(setting, folder, item, model)
    record = folder._read(folder.record("prune"))
    old = {"test_accuracy": held["test_accuracy"]}
    folder.finish("prune", record["flags"], record["fingerprint"], old)
    again, found = prune_round(setting, folder, item, model)
    assert equal(again, pruned) and found == old
