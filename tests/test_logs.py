"""The log of a run: on the console and in a file, either of which may fail."""

import logging
import os
import subprocess
import sys

import pytest

from tfprune.errors import TfpruneError
from tfprune.logs import log_to


def test_messages_go_to_the_console_and_with_a_time_to_the_file(tmp_path, capsys):
    with log_to(tmp_path / "log.txt") as log:
        log.info("one %d", 1)
    log.info("after the block")
    assert capsys.readouterr().out == "one 1\n"
    assert (tmp_path / "log.txt").read_text().endswith(" INFO one 1\n")


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(TfpruneError, match=r"cannot write .*none/log\.txt': No such file"):
        log_to(tmp_path / "none" / "log.txt").__enter__()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_ends_the_file_once_and_not_the_run(capsys):
    with log_to("/dev/full") as log:
        log.info("one")
        log.info("two")
    captured = capsys.readouterr()
    assert captured.out == "one\nfull ends here: No space left on device\ntwo\n"
    assert captured.err == ""


def test_a_console_that_is_gone_does_not_end_the_run(tmp_path):
    code = (
        "import sys\n"
        "from tfprune.logs import log_to\n"
        "with log_to(None) as log:\n"
        "    sys.stdin.read()\n"
        "    log.info('nobody reads this')\n"
        "    log.info('nor this')\n"
        "print('done', file=sys.stderr)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == "done\n" and process.wait() == 0
    process.stderr.close()
    assert logging.getLogger("tfprune").handlers == []
