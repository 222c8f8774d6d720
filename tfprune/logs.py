"""One log: what the console shows also goes to the run folder's `log.txt`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tfprune.errors import TfpruneError

#: The loggers whose messages belong to a run: ours, and absl's, which our library parts use.
_LOGGERS = ("tfprune", "absl")


class _Console(logging.StreamHandler):
    """Standard output. A run outlives the one who looked on: a closed pipe is no error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)
            return
        # What is still buffered would fail again when the interpreter ends.
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)


class _LogFile(logging.FileHandler):
    """A file that stops, saying so once, when the disk takes no more."""

    _full = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._full:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._full = True
        name = os.path.basename(self.baseFilename)
        logging.getLogger("tfprune").warning("%s ends here: %s", name, error.strerror)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written before
            super().close()


@contextlib.contextmanager
def log_to(path: Path | None) -> Iterator[logging.Logger]:
    """Within the block messages go to standard output and, with a time, to a file.

    Args:
        path: the file, appended to; None for the console alone.

    Raises:
        TfpruneError: the file cannot be opened.
    """
    console = _Console(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    handlers: list[logging.Handler] = [console]
    if path is not None:
        try:
            file = _LogFile(path, encoding="utf-8")
        except OSError as error:
            raise TfpruneError(f"cannot write {str(path)!r}: {error.strerror}") from None
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    states = []
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        states.append((logger, logger.handlers[:], logger.level, logger.propagate))
        logger.handlers[:] = handlers
        logger.setLevel(logging.INFO if name == "tfprune" else logging.WARNING)
        logger.propagate = False
    try:
        yield logging.getLogger("tfprune")
    finally:
        for logger, old, level, propagate in states:
            logger.handlers[:] = old
            logger.setLevel(level)
            logger.propagate = propagate
        for handler in handlers:
            handler.close()
