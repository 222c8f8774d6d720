import json
import os
import subprocess
import sys
import zipfile

import pytest

from tfprune.errors import TfpruneError
from tfprune.keras_line import keras_line_of


def test_the_keras_that_wrote_a_file_is_read_from_its_metadata(tmp_path):
    path = tmp_path / "m.keras"
    for version, line in (("3.15.1", 3), ("2.21.0", 2)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        assert keras_line_of(path) == line


def test_a_model_file_that_is_missing_or_foreign_is_refused(tmp_path):
    with pytest.raises(TfpruneError, match="there is no file"):
        keras_line_of(tmp_path / "none.keras")
    path = tmp_path / "m.keras"
    path.write_text("no archive")
    with pytest.raises(TfpruneError, match=r"is no \.keras file"):
        keras_line_of(path)


@pytest.mark.parametrize(
    "metadata",
    ["[]", "{}", '{"keras_version": 3}', '{"keras_version": ""}', 100_000 * "[" + 100_000 * "]"],
    ids=["list", "empty", "number", "no version", "nested"],
)
def test_an_archive_with_other_metadata_is_refused(tmp_path, metadata):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", metadata)
    with pytest.raises(TfpruneError, match=r"is no \.keras file"):
        keras_line_of(path)


def test_an_archive_with_a_damaged_block_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
    content = bytearray(path.read_bytes())
    content[content.index(b".json") + len(".json")] = 0xFF  # no such kind of block
    path.write_bytes(content)
    with pytest.raises(TfpruneError, match=r"is no \.keras file"):
        keras_line_of(path)


@pytest.mark.parametrize(
    ("line", "chosen", "expected"), [(2, None, "1"), (3, None, "0"), (2, "0", "0")]
)
def test_the_users_choice_of_keras_stands(line, chosen, expected):
    code = (
        f"import os; from tfprune.keras_line import choose_keras; choose_keras({line});"
        "print(os.environ['TF_USE_LEGACY_KERAS'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    environment |= {"TF_USE_LEGACY_KERAS": chosen} if chosen else {}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == expected


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1"), ("0", "0")])
def test_commands_take_onednn_unless_the_user_chose(chosen, expected):
    code = (
        "import os; from tfprune.keras_line import choose_keras; choose_keras(2);"
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {"TF_ENABLE_ONEDNN_OPTS": chosen} if chosen else {}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == expected
