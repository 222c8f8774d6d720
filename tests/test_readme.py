"""The README's code runs as it stands, its commands name what exists."""

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_blocks_run_in_order(tmp_path):
    script = "\n".join(blocks("python"))
    assert "tfprune.prune(model, 0.9)" in script
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("ok") >= 2
    assert (tmp_path / "pruned.tflite").is_file()


@pytest.mark.parametrize("block", blocks("bash"))
def test_the_commands_name_modules_and_files_that_exist(block):
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        for before, word in itertools.pairwise(words):
            if before == "-m" and word.startswith("tfprune"):
                assert (ROOT / word.replace(".", "/")).with_suffix(".py").is_file(), word
        for word in words:
            name = word.removeprefix("--flagfile=")
            if name.startswith(("configs/", "tools/")):
                assert list(ROOT.glob(name)), name


def test_the_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
