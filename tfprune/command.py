"""What every command of tfprune shares: one-line errors and exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from tfprune.errors import TfpruneError, UsageError

#: What shells call the end by SIGPIPE, which not every system has: 128 + 13.
_NOBODY_READS = 141


class Terminated(KeyboardInterrupt):
    """SIGTERM; what handles Ctrl-C handles it in the same way."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, so that files are cleaned up behind it."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def exit_status_of(command: Callable[[], int]) -> int:
    """Runs a command; a `TfpruneError` becomes one line on standard error.

    Returns:
        The command's exit status, or the error's: 2 for usage, 1 at run time, 130 and 143
        for Ctrl-C and SIGTERM, 141 where nobody reads the output any more (`| head`). Any other
        exception is a defect and keeps its traceback.
    """
    try:
        with sigterm_raises():
            status = command()
            sys.stdout.flush()
            return status
    except TfpruneError as error:
        print(f"tfprune: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        print(f"tfprune: {number.name}: stopped; the same command resumes", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:
        # What is still buffered goes nowhere, or Python complains of it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS


class ArgumentParser(argparse.ArgumentParser):
    """argparse for the smaller commands; what is wrong with usage is a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of exiting."""
        raise UsageError(f"{message}; see --help")
