import json
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import TfpruneError
from tfprune.reporting.ledger import KernelContent, LayerContent, ledger
from tfprune.reporting.summary import (
    HISTORY_KEYS,
    KEYS,
    ROUND_KEYS,
    empty_summary,
    read_summary,
    write_summary,
)

#: The keys of the run folder's contract, in its order.
_NAMES = """
schema status name network dataset group allocation criterion schedule target_sparsity
group_sparsity model_sparsity dense_accuracy control_accuracy first_test_accuracy
first_epoch_accuracy final_accuracy best_accuracy best_epoch validation_accuracy epochs
learning_rate lr_decay batch_size optimizer seed history rounds layers macs_dense macs_pruned
ledger exports audit versions machine wall_seconds images_per_second
"""
CONTRACT = _NAMES.split()

LAYER = {
    "name": "conv1",
    "kind": "conv",
    "shape": [5, 5, 1, 6],
    "size": 150,
    "kept": 128,
    "sparsity": 22 / 150,
    "threshold": 0.03,
    "pruned": True,
}
EPOCH = {
    "epoch": 1,
    "loss": 0.1,
    "train_accuracy": 0.98,
    "test_accuracy": None,
    "learning_rate": 1e-3,
    "seconds": 7.5,
}
ROUND = {
    "round": 1,
    "target_sparsity": 0.5,
    "group_sparsity": 0.5,
    "epochs": 2,
    "first_test_accuracy": 0.9,
    "first_epoch_accuracy": None,
    "final_accuracy": 0.95,
    "validation_accuracy": None,
}
EXPORTS = {
    "keras": {"bytes": 10, "accuracy": 0.99, "latency_ms": None},
    "tfprune": {"bytes": 5, "zipped_bytes": 5, "zeros": 3, "stages": {"dense": 20, "context": 5}},
}
LEDGER = ledger([LayerContent("conv1", (KernelContent(150, 128),), biases=6)], EXPORTS)
SHRUNK = {"parameters": [150, 75], "macs": None, "units": {"conv1": [6, 3]}}


def _summary(**changes):
    identity = {
        "status": "complete",
        "name": "lenet5_conv50",
        "network": "lenet5",
        "dataset": "mnist",
        "group": "conv",
        "target_sparsity": 0.5,
        "seed": 0,
    }
    return empty_summary() | identity | changes


def _all_keys():
    """A summary in which no key is null."""
    filled = {
        "text": "text",
        "count": 3,
        "number": 0.1,
        "fraction": 0.25,
        "flag": True,
        "texts": ["fc1"],
        "history": [EPOCH],
        "rounds": [ROUND],
        "layers": [LAYER],
        "ledger": LEDGER,
        "exports": EXPORTS,
        "shrunk": SHRUNK,
        "mapping": {"part": 1},
    }
    return {name: filled[key.kind] for name, key in KEYS.items()} | {"schema": 1}


def test_keys_are_those_of_the_contract_and_additional_ones():
    additional = ["share_first_accuracy", "shared_accuracy", "share_history"]
    additional += ["control_history", "protected_layers", "shrunk", "qat_history"]
    additional += ["dense_history", "deterministic", "retrain_epochs", "peak_memory_bytes"]
    additional += ["rewind", "precision", "share_rate", "teacher"]
    assert list(KEYS) == [*CONTRACT, *additional]
    assert all(key.meaning for key in KEYS.values())


def test_empty_summary_has_every_key_null_but_the_schema():
    summary = empty_summary()
    assert list(summary) == list(KEYS)
    assert summary.pop("schema") == 1
    assert set(summary.values()) == {None}


def test_round_trip_with_every_key_filled(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(path, _all_keys())
    assert read_summary(path) == _all_keys()
    assert list(json.loads(path.read_text())) == list(KEYS)
    assert os.listdir(tmp_path) == ["summary.json"]


def test_same_summary_gives_same_bytes_whatever_the_order_of_its_keys(tmp_path):
    backwards = dict(reversed(_all_keys().items()))
    write_summary(tmp_path / "a.json", _all_keys())
    write_summary(tmp_path / "b.json", backwards)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_numbers_and_texts_come_back_exactly(tmp_path_factory, fraction, number, text):
    path = tmp_path_factory.mktemp("round") / "summary.json"
    write_summary(path, _summary(final_accuracy=fraction, learning_rate=number, lr_decay=text))
    found = read_summary(path)
    assert found["final_accuracy"] == fraction
    assert found["learning_rate"] == number
    assert found["lr_decay"] == text


def test_numpy_numbers_and_tuples_become_plain(tmp_path):
    path = tmp_path / "summary.json"
    layer = LAYER | {"shape": (5, 5, 1, 6), "kept": np.int64(128)}
    write_summary(path, _summary(final_accuracy=np.float32(0.5), layers=(layer,)))
    found = read_summary(path)
    assert found["final_accuracy"] == 0.5
    assert found["layers"] == [LAYER]


def test_additional_keys_may_be_absent_from_a_file(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({key: _summary()[key] for key in CONTRACT}))
    assert read_summary(path)["control_history"] is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("nested", [False, True])
def test_a_number_that_is_not_finite_is_refused_and_its_place_named(tmp_path, number, nested):
    if nested:
        summary, place = _summary(history=[EPOCH | {"loss": number}]), r"history\[0\]\.loss"
    else:
        summary, place = _summary(wall_seconds=number), "wall_seconds"
    with pytest.raises(TfpruneError, match=f"{place} must be a finite number"):
        write_summary(tmp_path / "summary.json", summary)
    assert os.listdir(tmp_path) == []


def test_a_value_without_a_form_in_json_is_refused(tmp_path):
    with pytest.raises(TfpruneError, match=r"machine\.memory must be .*received object"):
        write_summary(tmp_path / "s.json", _summary(machine={"memory": object()}))


def test_unknown_and_missing_keys_are_refused(tmp_path):
    summary = _summary(colour="red")
    del summary["seed"]
    with pytest.raises(TfpruneError, match="unknown: colour; missing: seed"):
        write_summary(tmp_path / "summary.json", summary)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("name", None, "a text"),
        ("name", 3, "a text"),
        ("seed", -1, "a whole number"),
        ("seed", True, "a whole number"),
        ("epochs", 1.5, "a whole number"),
        ("final_accuracy", 98.9, r"a number in \[0, 1\]"),
        ("wall_seconds", "long", "a number"),
        ("deterministic", 1, "true or false"),
        ("protected_layers", "fc1", "a list of texts"),
        ("rounds", [1], "a list of objects"),
        ("rounds", [ROUND | {"group_sparsity": None}], ", ".join(ROUND_KEYS)),
        ("history", [{"epoch": 1}], ", ".join(HISTORY_KEYS)),
        ("history", [EPOCH | {"epoch": None}], "a list of objects"),
        ("history", [EPOCH | {"test_accuracy": 98.9}], "a list of objects"),
        ("history", [EPOCH | {"validation_accuracy": "high"}], "a list of objects"),
        ("layers", [LAYER | {"sparsity": 2}], "a list of objects with name, kind"),
        ("layers", [{"name": "conv1"}], "a list of objects with name, kind"),
        ("audit", "ok", "an object"),
        ("exports", {"tflite": 3}, "an object of objects"),
        ("exports", {"tflite": {"accuracy": "x"}}, "an object of objects with, where known, bytes"),
        ("exports", {"tfprune": {"stages": {"dense": "x"}}}, "an object of objects"),
        ("ledger", {"x": 1}, "an object with dense_bytes from 1, bytes, ratio, parts, layers and"),
        ("ledger", {key: LEDGER[key] for key in LEDGER if key != "parts"}, "an object with dense"),
        ("ledger", LEDGER | {"parts": LEDGER["parts"] | {"weights": None}}, "an object with dense"),
        ("ledger", LEDGER | {"dense_bytes": 0}, "an object with dense_bytes from 1"),
        ("ledger", LEDGER | {"files": {"tflite": {"ratio": 2.0}}}, "an object with dense_bytes"),
        ("ledger", LEDGER | {"layers": [{"name": "conv1"}]}, "an object with dense_bytes"),
        ("shrunk", {"x": 1}, "an object with pairs parameters, macs and"),
        ("shrunk", SHRUNK | {"units": {"conv1": [6]}}, "an object with pairs parameters, macs and"),
        ("schema", 0, "must be 1"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_written_and_read(tmp_path, key, value, wanted):
    path = tmp_path / "summary.json"
    with pytest.raises(TfpruneError, match=f"'{key}' must be.*{wanted}.*; received|must be 1;"):
        write_summary(path, _summary(**{key: value}))
    assert not path.exists()
    path.write_text(json.dumps(_summary(**{key: value})))
    with pytest.raises(TfpruneError, match=f"summary.json: '{key}' must be"):
        read_summary(path)


def test_a_long_wrong_value_is_shortened(tmp_path):
    with pytest.raises(TfpruneError) as caught:
        write_summary(tmp_path / "summary.json", _summary(audit="x" * 10_000))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": 1, "status"', "is no JSON, or is truncated"),
        ("", "is no JSON, or is truncated"),
        ('{"schema": NaN}', "NaN is no JSON number"),
        ("[1, 2]", "is no summary of a tfprune run"),
        ('{"accuracy": 0.9}', "is no summary of a tfprune run"),
        ('{"schema": 2}', "written by a newer tfprune: this one reads schema 1; received schema 2"),
        ('{"schema": 1}', "missing: status, name"),
    ],
)
def test_a_truncated_foreign_or_newer_file_is_refused_by_name(tmp_path, text, said):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(TfpruneError, match=said) as caught:
        read_summary(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("depth", [3000, 100_000])
def test_a_file_that_is_nested_too_deeply_is_refused_by_name(tmp_path, depth):
    path = tmp_path / "summary.json"
    text = json.dumps(_summary(machine={"processor": "?"}))
    path.write_text(text.replace('"?"', depth * "[" + depth * "]"))
    with pytest.raises(TfpruneError, match=r"summary\.json: is nested too deeply"):
        read_summary(path)


def test_a_whole_number_too_large_for_any_figure_is_refused(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(_summary(wall_seconds=10**400)))
    with pytest.raises(TfpruneError, match="wall_seconds must be a finite number"):
        read_summary(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "summary.json"
    path.write_bytes(b"\xff\xfe\x00PNG")
    with pytest.raises(TfpruneError, match="is no JSON"):
        read_summary(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(TfpruneError, match=r"absent\.json: cannot be read"):
        read_summary(tmp_path / "absent.json")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(path, _summary())
    with pytest.raises(TfpruneError):
        write_summary(path, _summary(final_accuracy=math.nan))
    assert read_summary(path) == _summary()
