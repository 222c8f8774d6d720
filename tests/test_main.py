import json
import zipfile

import pytest

from tfprune.errors import TfpruneError
from tfprune.main import keras_line_of


def test_the_keras_that_wrote_a_file_is_read_from_its_metadata(tmp_path):
    path = tmp_path / "m.keras"
    for version, line in (("3.15.1", "3"), ("2.21.0", "2")):
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
