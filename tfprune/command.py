"""What every command of tfprune shares: one-line errors and exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from tfprune.errors import TfpruneError, UsageError


def exit_status_of(command: Callable[[], int]) -> int:
    """Runs a command; a `TfpruneError` becomes one line on standard error.

    Returns:
        The command's exit status, or the error's: 2 for usage, 1 at run time, 130 and 143
        for Ctrl-C and SIGTERM. Any other exception is a defect and keeps its traceback.
    """
    try:
        return command()
    except TfpruneError as error:
        print(f"tfprune: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("tfprune: interrupted; the same command resumes", file=sys.stderr)
        return 130


class ArgumentParser(argparse.ArgumentParser):
    """argparse for the smaller commands; what is wrong with usage is a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of exiting."""
        raise UsageError(f"{message}; see --help")
