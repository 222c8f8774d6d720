import pytest

from tfprune.errors import UsageError
from tfprune.flagfile import expand_flagfiles


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_flagfile_is_replaced_in_place_so_that_later_flags_win(tmp_path):
    path = write(tmp_path / "a.cfg", "# a comment", "", "--epochs=3", "// another", "--seed=1")
    arguments = ["--name=x", f"--flagfile={path}", "--epochs=5"]
    assert expand_flagfiles(arguments) == ["--name=x", "--epochs=3", "--seed=1", "--epochs=5"]


def test_a_name_may_follow_as_the_next_argument(tmp_path):
    path = write(tmp_path / "a.cfg", "--epochs=3")
    assert expand_flagfiles(["--flagfile", str(path)]) == ["--epochs=3"]


def test_an_included_file_is_relative_to_the_one_that_includes_it(tmp_path, monkeypatch):
    write(tmp_path / "configs" / "base.cfg", "--epochs=3")
    path = write(tmp_path / "configs" / "sub" / "a.cfg", "--flagfile=../base.cfg", "--seed=1")
    monkeypatch.chdir("/")
    assert expand_flagfiles([f"--flagfile={path}"]) == ["--epochs=3", "--seed=1"]


@pytest.mark.parametrize("line", ["--group=fc # the dense ones", "--name=a\t# my run"])
def test_a_comment_behind_a_flag_is_refused_and_never_part_of_its_value(tmp_path, line):
    path = write(tmp_path / "a.cfg", "--epochs=3", line)
    with pytest.raises(UsageError, match=r"a\.cfg': a comment needs a line of its own") as caught:
        expand_flagfiles([f"--flagfile={path}"])
    assert str(caught.value).endswith(f"received {line!r}")


def test_a_hash_inside_a_word_is_part_of_the_value(tmp_path):
    path = write(tmp_path / "a.cfg", "--name=try#2")
    assert expand_flagfiles([f"--flagfile={path}"]) == ["--name=try#2"]


@pytest.mark.parametrize("kind", ["missing", "folder", "binary", "cycle", "no flag", "no name"])
def test_faults_are_usage_errors_that_name_the_file(tmp_path, kind):
    path = tmp_path / "bad.cfg"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    elif kind == "cycle":
        write(path, "--flagfile=other.cfg")
        write(tmp_path / "other.cfg", "--flagfile=bad.cfg")
    elif kind == "no flag":
        write(path, "epochs 3")
    argument = "--flagfile=" if kind == "no name" else f"--flagfile={path}"
    with pytest.raises(UsageError, match="flagfile" if kind == "no name" else "bad.cfg"):
        expand_flagfiles([argument])
