"""One log: what the console shows also goes to the run folder's `log.txt`."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

#: The loggers whose messages belong to a run: ours, and absl's, which our library parts use.
_LOGGERS = ("tfprune", "absl")


@contextlib.contextmanager
def log_to(path: Path | None) -> Iterator[logging.Logger]:
    """Within the block messages go to standard output and, with a time, to a file.

    Args:
        path: the file, appended to; None for the console alone.
    """
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    handlers: list[logging.Handler] = [console]
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
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
