"""The code of README.md and docs/*.md runs as it stands; their commands and links are real."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}

#: Runs README's code, then that of each document from where README's ended.
RUN = """
import sys
from pathlib import Path

names = {}
for path in map(Path, sys.argv[1:]):
    code = compile(path.read_text(encoding="utf-8"), path.name, "exec")
    exec(code, names if path.name == "README.py" else dict(names))
"""


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[document], re.MULTILINE | re.DOTALL)


def test_the_python_blocks_run_in_order(tmp_path):
    scripts = []
    for document in TEXTS:
        if code := "\n".join(blocks(document, "python")):
            scripts.append(tmp_path / f"{Path(document).stem}.py")
            scripts[-1].write_text(code, encoding="utf-8")
    assert [path.name for path in scripts] == [
        *("README.py", "allocations.py", "extending.py", "library.py", "schedules.py", "tfmot.py")
    ]
    result = subprocess.run(
        [sys.executable, "-c", RUN, *scripts], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("ok") >= 2
    assert (tmp_path / "pruned.tflite").is_file()


@pytest.mark.parametrize("document", TEXTS)
def test_the_commands_name_modules_and_files_that_exist(document):
    commands = "".join(blocks(document, "bash")).replace("\\\n", " ")  # lines that go on
    for line in commands.splitlines():
        words = shlex.split(line, comments=True)
        for before, word in itertools.pairwise(words):
            if before == "-m" and word.startswith("tfprune"):
                assert (ROOT / word.replace(".", "/")).with_suffix(".py").is_file(), word
        for word in words:
            name = word.removeprefix("--flagfile=").removeprefix("--configs=")
            if name.startswith(("configs/", "tools/")):
                assert list(ROOT.glob(name)), name


def headings(text):
    """The anchors of a document's headings, as its readers' software makes them."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("document", TEXTS)
def test_the_links_and_pictures_exist(document):
    for target in re.findall(r"\]\(([^):]+)\)", TEXTS[document]):
        name, _, anchor = target.partition("#")
        place = (ROOT / document).parent / name if name else ROOT / document
        assert place.is_file(), target
        if anchor:
            assert anchor in headings(place.read_text(encoding="utf-8")), target


def test_the_map_names_files_that_exist():
    named = 0
    rows = re.compile(r"^\| (`(?:tfprune|tests|tools)/.*) \|$", re.MULTILINE)
    for row in rows.findall(TEXTS["README.md"]):
        where = row.partition(" | ")[0]
        folder = re.findall(r"`([\w/]+)", where)[0].rpartition("/")[0]
        for name in re.findall(r"`([\w/]+\.py)`", row):
            assert any((ROOT / place / name).is_file() for place in ("", folder)), name
            named += 1
    assert named > 50
