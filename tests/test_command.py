"""Errors, Ctrl-C and SIGTERM as every command ends with them."""

import os
import signal
import subprocess
import sys

import pytest

from tfprune.command import exit_status_of
from tfprune.errors import TfpruneError, UsageError


@pytest.mark.parametrize(("error", "status"), [(TfpruneError, 1), (UsageError, 2)])
def test_our_own_errors_are_one_line(capsys, error, status):
    def command():
        raise error("the disk is full")

    assert exit_status_of(command) == status
    assert capsys.readouterr().err == "tfprune: error: the disk is full\n"


def test_any_other_exception_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_status_of(lambda: 1 // 0)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_runs_the_cleaning_up_and_says_how_to_resume(capsys, name, status):
    cleaned = []

    def command():
        try:
            os.kill(os.getpid(), signal.Signals[name])
            signal.pause()
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert exit_status_of(command) == status
    assert capsys.readouterr().err == f"tfprune: {name}: stopped; the same command resumes\n"
    assert cleaned and signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_went_away_ends_a_command_quietly():
    """`python -m tfprune.main --helpfull | head -1`: 141 is a shell's status for SIGPIPE."""
    command = [sys.executable, "-m", "tfprune.main", "--helpfull"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        found = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (found.returncode, found.stderr) == (141, b"")
