import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "update_docs.py"

README = """\
# Title

<!-- generated: results/a.md -->
old
text
<!-- end -->

Between.

<!-- generated: b.md -->
<!-- end -->
Last.
"""


def _run(folder, *options):
    command = [sys.executable, str(TOOL), "--project", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.md").write_text("| a |\n| 1 |\n")
    (tmp_path / "b.md").write_text("\nB – one\n")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_text_between_markers_becomes_the_files_content(project):
    assert _run(project).returncode == 0
    assert (project / "README.md").read_text(encoding="utf-8") == (
        README.replace("old\ntext\n", "| a |\n| 1 |\n").replace("b.md -->\n", "b.md -->\nB – one\n")
    )
    assert sorted(path.name for path in project.iterdir()) == ["README.md", "b.md", "results"]


def test_documents_name_files_from_the_projects_folder(project):
    (project / "docs").mkdir()
    (project / "docs" / "b.md").write_text("<!-- generated: b.md -->\n<!-- end -->\n")
    assert "docs/b.md is not up to date" in _run(project, "--check").stderr
    assert _run(project).returncode == 0
    assert (project / "docs" / "b.md").read_text(encoding="utf-8") == (
        "<!-- generated: b.md -->\nB – one\n<!-- end -->\n"
    )


def test_a_faulty_document_leaves_all_of_them_as_they_are(project):
    (project / "docs").mkdir()
    (project / "docs" / "b.md").write_text("<!-- end -->\n")
    result = _run(project)
    assert result.returncode == 2 and "docs/b.md: line 1" in result.stderr
    assert (project / "README.md").read_text() == README


def test_check_fails_until_the_readme_is_up_to_date_and_changes_nothing(project):
    result = _run(project, "--check")
    assert result.returncode == 1
    assert "is not up to date" in result.stderr
    assert (project / "README.md").read_text() == README
    assert _run(project).returncode == 0
    once = (project / "README.md").read_bytes()
    assert _run(project, "--check").returncode == 0
    assert _run(project).returncode == 0
    assert (project / "README.md").read_bytes() == once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- generated: b.md -->\n", "has no <!-- end --> after it"),
        ("<!-- end -->\n", "line 1: <!-- end --> without a marker"),
        ("<!-- generated: b.md -->\n<!-- generated: b.md -->\n", "line 2: a marker before"),
        ("<!-- generated: absent.md -->\n<!-- end -->\n", "absent.md cannot be read"),
        ("<!-- generated: README.md -->\n<!-- end -->\n", "holds a marker itself"),
    ],
)
def test_wrong_markers_end_in_one_line_and_change_nothing(project, text, said):
    (project / "README.md").write_text(text)
    result = _run(project)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (project / "README.md").read_text() == text


def test_a_missing_readme_is_an_error(tmp_path):
    result = _run(tmp_path)
    assert result.returncode == 2
    assert "No such file" in result.stderr


def test_help():
    assert _run(Path(), "--help").returncode == 0
