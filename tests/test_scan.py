import json

import numpy as np
import pytest

from tfprune import scan
from tfprune.config import Config
from tfprune.pruning.curves import Sensitivity
from tfprune.run_dir import RunDir
from tfprune.setting import Setting


@pytest.mark.parametrize(
    ("fraction", "count", "words"),
    [(0.2, 288, "held out of training"), (0.0, 719, "training images, which the baseline has")],
)
def test_held_out_images_judge_or_else_training_images_and_never_the_test_set(
    tmp_path, fraction, count, words
):
    # Of 1438 training images: a fifth; or, a tenth being less than 1000, half.
    setting = Setting(Config(runs_dir=str(tmp_path), validation_fraction=fraction))
    split, what = scan.judging_images(setting)
    assert len(split) == count and words in what
    test = {image.tobytes() for image in setting.dataset.test.images}
    shared = [image.tobytes() in test for image in np.asarray(split.images)]
    assert sum(shared) < 0.01 * count  # a drawing may occur twice, a set of them may not


def test_points_of_another_scan_or_of_a_damaged_file_are_measured_again(tmp_path, caplog):
    path = tmp_path / "points.json"
    assert scan._read_points(path, "mark") == {}
    points = {(None, 0.0): 0.1 + 0.2, ("conv1", 0.95): 1 / 3}
    scan._write_points(path, "mark", points)
    assert scan._read_points(path, "mark") == points
    assert scan._read_points(path, "other mark") == {} and not caplog.records
    whole = path.read_text()
    for damaged in (whole[:30], "[]", json.dumps({"fingerprint": "mark", "points": [[1, 2]]})):
        path.write_text(damaged)
        assert scan._read_points(path, "mark") == {}
        assert "points.json, which is damaged" in caplog.records[-1].message


def test_the_search_for_a_budget_measures_each_proposal_once(tmp_path, monkeypatch):
    removed = []

    def evaluator(model, normalization, split):
        def accuracy():
            kernel = model.get_layer("fc2").layer.kernel.numpy()
            removed.append(int(kernel.size - np.count_nonzero(kernel)))
            return 0.9 if removed[-1] <= 0.4 * kernel.size else 0.5

        return accuracy

    monkeypatch.setattr(scan, "evaluator", evaluator)
    setting = Setting(Config(runs_dir=str(tmp_path), group="fc2"))
    found = Sensitivity(0.9, {"fc2": 10080}, {"fc2": ((0.5, 0.89), (0.9, 0.5))})
    folder = RunDir(tmp_path / "run")
    (proposal,) = scan.report_scan(
        setting, folder, found, setting.new_model(), [{"accuracy_budget": 0.02}]
    )
    # Found to half a percent of the weights, in more than one step, the last of them known.
    assert 0.395 * 10080 < proposal.removed["fc2"] <= 0.4 * 10080
    assert len(removed) == len(set(removed)) > 1
    (row,) = json.loads(folder.sensitivity.read_text())["proposals"]
    assert row["measured_accuracy"] == 0.9
