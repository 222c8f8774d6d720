"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfprune.errors import TfpruneError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there takes its place at the end.

    The temporary name keeps the suffix, which Keras chooses formats by. If the block
    raises, or the disk refuses, whatever stood at `path` stays untouched and nothing
    half-written is left.

    Raises:
        TfpruneError: the operating system refused (full disk, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise TfpruneError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
