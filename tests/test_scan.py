import json

import numpy as np
import pytest

from tfprune import scan
from tfprune.config import Config
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
