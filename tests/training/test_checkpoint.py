import errno

import numpy as np
import pytest

from tfprune.errors import TfpruneError
from tfprune.training.checkpoint import CheckpointFolder, Progress, load_arrays, save_arrays

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]), np.int64(7)]


def same(left, right):
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(left, right, strict=True)
    )


def test_arrays_come_back_in_order_with_type_and_meta(tmp_path):
    path = tmp_path / "deep" / "a.npz"
    save_arrays(path, ARRAYS, {"x": [1, "é"]})
    arrays, meta = load_arrays(path)
    assert same(arrays, ARRAYS) and meta == {"x": [1, "é"]}


def test_more_than_ten_arrays_keep_their_order(tmp_path):
    save_arrays(tmp_path / "a.npz", list(np.arange(123)), {})
    assert load_arrays(tmp_path / "a.npz")[0] == list(range(123))


def test_every_truncation_and_any_flipped_byte_of_the_data_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, ARRAYS, {})
    content = path.read_bytes()
    start = content.index(ARRAYS[0].tobytes())
    damaged = [content[:size] for size in range(0, len(content), 37)]
    for i in range(start, start + ARRAYS[0].nbytes):
        damaged.append(content[:i] + bytes([content[i] ^ 0x40]) + content[i + 1 :])
    for text in damaged:
        path.write_bytes(text)
        with pytest.raises(TfpruneError, match="damaged"):
            load_arrays(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TfpruneError, match=r"no file .*none\.npz"):
        load_arrays(tmp_path / "none.npz")


def progress(epoch, step=0):
    return Progress(epoch, step, [0.5] * step, step, 1.0, [{"epoch": e + 1} for e in range(epoch)])


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path):
    folder = CheckpointFolder(tmp_path, "retrain")
    for epoch, step in ((1, 0), (1, 300), (2, 0)):
        folder.save([np.array(epoch)], progress(epoch, step), "mark")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "retrain-00001-0000300.npz",
        "retrain-00002-0000000.npz",
    ]
    arrays, found = folder.load("mark")
    assert arrays == [2] and found == progress(2)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    folder = CheckpointFolder(tmp_path, "dense")
    folder.save(ARRAYS, progress(1), "mark")
    folder.save(ARRAYS, progress(2), "mark")
    newest = tmp_path / "dense-00002-0000000.npz"
    newest.write_bytes(newest.read_bytes()[:-40])
    assert folder.load("mark")[1] == progress(1)
    assert "passing over checkpoint dense-00002" in caplog.text


def test_a_checkpoint_of_another_model_or_with_impossible_progress_is_passed_over(tmp_path, caplog):
    folder = CheckpointFolder(tmp_path, "dense")
    folder.save(ARRAYS, progress(1), "mark")
    assert folder.load("mark", [(2, 3), (2,), ()])[1] == progress(1)
    assert folder.load("mark", [(3, 2), (2,), ()]) is None
    assert "another model or optimizer" in caplog.text
    meta = {"fingerprint": "mark", "progress": {"epoch": 2, "step": 3}}
    save_arrays(tmp_path / "dense-00002-0000003.npz", ARRAYS, meta)
    assert folder.load("mark")[1] == progress(1)
    assert "contradicts itself" in caplog.text


def test_the_checkpoint_that_a_stage_goes_on_from_is_named(tmp_path, caplog):
    folder = CheckpointFolder(tmp_path, "dense")
    folder.save(ARRAYS, progress(2, 30), "mark")
    with caplog.at_level("INFO", "tfprune"):
        folder.load("mark")
    assert "dense: goes on at epoch 3, step 30, from checkpoint dense-00002-0000030" in caplog.text


def test_another_stage_or_other_flags_give_no_checkpoint(tmp_path):
    CheckpointFolder(tmp_path, "dense").save(ARRAYS, progress(1), "mark")
    assert CheckpointFolder(tmp_path, "retrain").load("mark") is None
    assert CheckpointFolder(tmp_path, "dense").load("other") is None


def test_clear_removes_only_its_own_stage(tmp_path):
    for stage in ("dense", "retrain"):
        CheckpointFolder(tmp_path, stage).save(ARRAYS, progress(1), "mark")
    CheckpointFolder(tmp_path, "dense").clear()
    assert [p.name for p in tmp_path.iterdir()] == ["retrain-00001-0000000.npz"]


def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, "dense")
    folder.save(ARRAYS, progress(1), "mark")

    def full(file, **arrays):
        file.write(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(TfpruneError, match="No space left on device"):
        folder.save(ARRAYS, progress(2), "mark")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["dense-00001-0000000.npz"]
    assert folder.load("mark")[1] == progress(1)
