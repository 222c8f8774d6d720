"""Properties: spoilt bytes are read as what was written, or not at all, with one line."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfprune.errors import TfpruneError
from tfprune.flags import parse
from tfprune.pruning.masks import load_masks, save_masks
from tfprune.reporting.summary import empty_summary, read_summary, write_summary
from tfprune.run_dir import RunDir
from tfprune.training.checkpoint import CheckpointFolder, Progress, load_arrays, save_arrays

ARRAYS = [np.arange(60, dtype=np.float32).reshape(3, 20), np.int64(7)]
MASKS = {"fc1/kernel": np.arange(600).reshape(20, 30) % 3 > 0, "fc1/bias": np.ones(30, bool)}
FLAGS = {"epochs": 3, "names": ["a", "b"]}
SUMMARY = empty_summary() | {
    **{"status": "running", "name": "n", "network": "lenet5", "group": "fc", "seed": 0},
    **{"target_sparsity": 0.9, "versions": {"python": "3"}, "protected_layers": ["fc1"]},
}
ours = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def spoils(draw):
    """A function that spoils bytes: cuts them, changes, removes or adds some."""
    kind = draw(st.sampled_from(["cut", "change", "remove", "add"]))
    at, length = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    mask, extra = draw(st.integers(1, 255)), draw(st.binary(min_size=1, max_size=40))

    def spoil(content):
        place = min(int(at * len(content)), len(content) - 1)
        if kind == "cut":
            return content[:place]
        if kind == "change":
            return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
        if kind == "remove":
            return content[:place] + content[place + length :]
        return content[:place] + extra + content[place:]

    return spoil


def same_or_one_line(path, whole, spoil, read, same):
    path.write_bytes(spoil(whole))
    try:
        found = read()
    except TfpruneError as error:
        assert "\n" not in str(error) and path.name in str(error)
    else:
        assert same(found)


def equal_arrays(found):
    return all(a.tobytes() == np.asarray(b).tobytes() for a, b in zip(found, ARRAYS, strict=True))


@ours
@given(spoils())
def test_arrays(tmp_path, spoil):
    path = tmp_path / "dense.npz"
    save_arrays(path, ARRAYS, {"x": 1})
    whole = path.read_bytes()
    same_or_one_line(path, whole, spoil, lambda: load_arrays(path)[0], equal_arrays)


@ours
@given(spoils())
def test_masks(tmp_path, spoil):
    path = tmp_path / "masks.npz"
    save_masks(path, MASKS)
    whole = path.read_bytes()

    def same(found):
        return found.keys() == MASKS.keys() and all(
            np.array_equal(found[k], MASKS[k]) for k in MASKS
        )

    same_or_one_line(path, whole, spoil, lambda: load_masks(path), same)


@ours
@given(spoils())
def test_the_record_of_a_stage(tmp_path, spoil):
    folder = RunDir(tmp_path)
    folder.finish("prune", FLAGS, "mark", {"x": 1.5})
    path = folder.record("prune")

    def same(found):
        return found == {"x": 1.5}

    same_or_one_line(
        path, path.read_bytes(), spoil, lambda: folder.begin("prune", FLAGS, "mark"), same
    )


@ours
@given(spoils())
def test_a_checkpoint_falls_back_to_the_one_before(tmp_path, spoil):
    folder = CheckpointFolder(tmp_path, "dense")
    folder.save([np.zeros(5)], Progress(epoch=1, history=[{}]), "mark")
    folder.save([np.ones(5)], Progress(epoch=2, history=[{}, {}]), "mark")
    path = tmp_path / "dense-00002-0000000.npz"
    path.write_bytes(spoil(path.read_bytes()))
    arrays, progress = folder.load("mark")
    assert progress.epoch in (1, 2)
    assert np.array_equal(arrays[0], np.full(5, progress.epoch - 1.0))


@ours
@given(spoils())
def test_summaries(tmp_path, spoil):
    path = tmp_path / "summary.json"
    write_summary(path, SUMMARY)
    whole = path.read_bytes()

    def valid(found):  # a text may be another text
        write_summary(path, found)
        return found.keys() == SUMMARY.keys()

    same_or_one_line(path, whole, spoil, lambda: read_summary(path), valid)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@ours
@given(st.sampled_from(["flags", "result", "fingerprint", "stage", "checksum"]), JSON)
def test_a_record_with_any_value_in_a_place_of_its_own(tmp_path, key, value):
    folder = RunDir(tmp_path)
    folder.finish("prune", FLAGS, "mark", {"x": 1.5})
    record = json.loads(folder.record("prune").read_text())
    if record[key] == value or (key, value) == ("checksum", None):
        return
    folder.record("prune").write_text(json.dumps(record | {key: value}))
    with pytest.raises(TfpruneError, match=r"prune\.json' is damaged"):
        folder.begin("prune", FLAGS, "mark")


@ours
@given(spoils())
def test_flagfiles(tmp_path, spoil):
    path = tmp_path / "tiny.cfg"
    whole = b"# comment\n--epochs=3\n--sparsity=0.5\n--name=tiny\n--noexport\n"
    path.write_bytes(spoil(whole))
    try:
        parse([f"--flagfile={path}"])
    except TfpruneError as error:
        assert "\n" not in str(error) and error.exit_status == 2
