"""Keeps the notes of C++ libraries off the console."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block nothing reaches standard error; exceptions pass as they are.

    TensorFlow's start, its converter and the interpreter write straight to file descriptor
    2, which Python's own redirection does not reach.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.ERROR)
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        logger.setLevel(level)
