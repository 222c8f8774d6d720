import os

import pytest

from tfprune.atomic import atomic_path, write_text
from tfprune.errors import TfpruneError


def test_the_file_appears_whole_with_its_folder(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "é\n")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "é\n"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["b.txt"]


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "m.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.touch()


def test_what_the_system_refuses_names_the_file_and_the_reason(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TfpruneError, match=r"file/b\.txt': (Not a dir|File exists)"):
        write_text(tmp_path / "file" / "b.txt", "")
