import itertools
import json
import multiprocessing
import time

import pytest

from tfprune.errors import TfpruneError, UsageError
from tfprune.run_dir import RunDir, file_hash, fingerprint

FLAGS = {"epochs": 3, "names": ("a", "b")}


def test_a_fingerprint_depends_on_flags_and_inputs_and_not_on_order():
    mark = fingerprint(FLAGS, "data")
    assert len(mark) == 16 and mark == fingerprint(dict(reversed(FLAGS.items())), "data")
    assert mark != fingerprint(FLAGS, "other") != fingerprint(FLAGS | {"epochs": 4}, "data")


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    assert file_hash(path) == "ba7816bf8f01cfea"  # SHA-256 of "abc", FIPS 180-2 appendix B.1


def test_a_stage_is_open_until_it_is_finished_and_then_stands(tmp_path):
    folder = RunDir(tmp_path)
    assert folder.begin("prune", FLAGS, "m") is None
    assert folder.begin("prune", FLAGS, "m") is None
    folder.finish("prune", FLAGS, "m", {"x": 1})
    assert folder.begin("prune", FLAGS, "m") == {"x": 1}


@pytest.mark.parametrize("finished", [False, True])
def test_other_flags_are_refused_and_named(tmp_path, finished):
    folder = RunDir(tmp_path)
    folder.begin("prune", FLAGS, "m")
    if finished:
        folder.finish("prune", FLAGS, "m", {})
    with pytest.raises(UsageError, match=r"'prune'.*--epochs=4 \(there: 3\); give another --name"):
        folder.begin("prune", FLAGS | {"epochs": 4}, "n")
    with pytest.raises(UsageError, match=r"--seed=1 \(there: 0\)"):
        folder.begin("prune", FLAGS | {"seed": 1}, "n")
    with pytest.raises(UsageError, match="another input"):
        folder.begin("prune", FLAGS, "n")


def test_a_look_at_a_stage_writes_nothing_and_refuses_one_that_a_run_does_not_have(tmp_path):
    folder = RunDir(tmp_path)
    assert folder.check("share", FLAGS, "m") is folder.check("share", FLAGS, None) is None
    assert list(tmp_path.iterdir()) == []
    folder.finish("share", FLAGS, "m", {"x": 1})
    assert folder.check("share", FLAGS, "m") == {"x": 1}
    with pytest.raises(UsageError, match=r"'share' was made with other flags: --epochs=4 \(there"):
        folder.check("share", FLAGS | {"epochs": 4}, None)


def test_a_damaged_record_is_named(tmp_path):
    folder = RunDir(tmp_path)
    folder.begin("prune", FLAGS, "m")
    whole = folder.record("prune").read_text()
    other = whole.replace('"epochs": 3', '"epochs": 4')
    assert other != whole
    for text in ("", "[]", "{}", '{"flags": 1}', whole[:-9], other):
        folder.record("prune").write_text(text)
        with pytest.raises(TfpruneError, match=r"prune\.json' is damaged"):
            folder.begin("prune", FLAGS, "m")


def test_a_record_of_an_older_version_without_checksum_stands(tmp_path):
    folder = RunDir(tmp_path)
    folder.finish("prune", FLAGS, "m", {"x": 1})
    record = json.loads(folder.record("prune").read_text())
    del record["checksum"]
    folder.record("prune").write_text(json.dumps(record))
    assert folder.begin("prune", FLAGS, "m") == {"x": 1}


def test_what_a_killed_holder_left_half_written_is_swept_away_under_its_lock(tmp_path):
    folder = RunDir(tmp_path)
    kept = [tmp_path / "stages" / "dense.npz", tmp_path / ".lock-other", tmp_path / ".hidden"]
    left = {
        "dense": [
            tmp_path / "checkpoints" / ".0123abcd-dense-00001-0000000.npz",
            tmp_path / "stages" / ".0123abcd-dense.npz",
            tmp_path / "tensorboard" / "dense" / ".0123abcd-events.out.tfevents.00001",
        ],
        "control-1": [tmp_path / "checkpoints" / ".0123abcd-control-1-00001-0000000.npz"],
        "tflite": [tmp_path / ".0123abcd-dense.tflite"],
        "run": [tmp_path / ".0123abcd-pruned.keras"],
    }
    for path in [*kept, *itertools.chain(*left.values())]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for what, expected in left.items():
        with folder.locked(what):
            assert [path for path in expected if path.exists()] == []
        later = [path for name in list(left)[list(left).index(what) + 1 :] for path in left[name]]
        assert all(path.exists() for path in later + kept)


def hold(path, seconds):
    with RunDir(path).locked("dense"):
        (path / "held").touch()
        time.sleep(seconds)


@pytest.fixture
def holder(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, 60))
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def test_a_folder_in_use_is_refused_and_a_dead_holders_lock_is_free(tmp_path, holder):
    folder = RunDir(tmp_path)
    with pytest.raises(TfpruneError, match="another process"), folder.locked("dense"):
        pass
    with folder.locked("other"):
        pass
    holder.kill()
    holder.join()
    with folder.locked("dense"):
        pass


def test_one_who_waits_gets_the_lock_when_it_is_free(tmp_path, holder):
    holder.kill()
    with RunDir(tmp_path).locked("dense", wait=True):
        assert not holder.is_alive() or holder.join() is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(TfpruneError, match=r"cannot use .*file/run"),
        RunDir(tmp_path / "file" / "run").locked(),
    ):
        pass
