"""The table of coded files: by hand from small records, and its errors."""

import json

import pytest

from tfprune.errors import TfpruneError
from tfprune.reporting.compression import (
    _three_digits,
    compression_table,
    published_files,
    read_records,
)


def figures(seed, size, decoded):
    return {
        "seed": seed,
        "dense_bytes": 1_000_000,
        "bytes": size,
        "stages": {
            "dense": 1_000_000,
            "sparse": 50_000,
            "shared": 30_000,
            "huffman": 25_000,
            "context": size,
        },
        "sparsity": 0.95,
        "control_accuracy": 0.99,
        "pruned_accuracy": 0.98,
        "decoded_accuracy": decoded,
    }


def record(mode, sizes, decoded):
    seeds = [figures(*each) for each in zip(range(3), sizes, decoded, strict=False)]
    return {"network": "lenet5_caffe", "mode": mode, "bits": "5", **seeds[0], "seeds": seeds}


def write(folder, name, content, size):
    (folder / f"{name}.tfprune").write_bytes(bytes(size))
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_rows_are_means_over_the_seeds(tmp_path):
    write(tmp_path, "b", record("small", [9_000], [0.985]), 9_000)
    write(tmp_path, "a", record("context", [19_000, 20_000, 21_000], [0.98, 0.99, 0.985]), 19_000)
    text = compression_table(read_records(tmp_path))
    lines = text.splitlines()
    assert lines[2] == (
        "| lenet5_caffe | context | 95.00 % | 5 | 1000.0 | 50.00 | 30.00 | 25.00 | 20.00 | "
        "**20.00** | **50x** | 1.00 | 2.00 | **1.50 (1.00..2.00)** |"
    )
    assert lines[3].endswith("| **9.00** | **111x** | 1.00 | 2.00 | **1.50 [1 seed]** |")
    rows = [line for line in lines[4:] if line.startswith("| lenet5_caffe")]
    assert "Deep Compression | 44 | 0.74" in rows[0] and "DeepCABAC (115x) | 15 | –" in rows[2]
    assert rows[1] == "| lenet5_caffe | **tfprune, context** | 20 | 1.50 (1.00..2.00) |"
    assert "**tfprune, small** | 9 " in rows[3] and "MIRACLE | 1.5 | 0.96" in rows[-1]
    assert len(rows) == 6


def test_a_file_without_its_record_is_refused(tmp_path):
    (tmp_path / "a.tfprune").write_bytes(bytes(5))
    with pytest.raises(TfpruneError, match=r"a.json' is no record of a coded file"):
        read_records(tmp_path)
    broken = record("context", [5], [0.9])
    del broken["seeds"][0]["stages"]
    write(tmp_path, "a", broken, 5)
    with pytest.raises(TfpruneError, match="stages is missing"):
        read_records(tmp_path)
    write(tmp_path, "a", record("context", [6], [0.9]), 5)
    with pytest.raises(TfpruneError, match=r"not the record of a.tfprune: another size"):
        read_records(tmp_path)


def test_the_published_ones_are_there():
    found = {(row["network"], row["kilobytes"]): row["error"] for row in published_files()}
    assert found["lenet300_100", 27] == 1.58 and found["lenet5_caffe", 44] == 0.74


@pytest.mark.parametrize(
    ("kilobytes", "text"), [(0.8767, "0.877"), (25.74, "25.7"), (999.4, "999"), (1107.59, "1108")]
)
def test_sizes_have_three_digits_or_all_before_the_point(kilobytes, text):
    assert _three_digits(kilobytes) == text
