"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from tfprune.errors import TfpruneError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there takes its place at the end.

    The temporary name keeps the suffix, which Keras chooses formats by, and is no other
    writer's. A file is on the disk before it is renamed. If the block raises, or the disk
    refuses, whatever stood at `path` stays untouched and nothing half-written is left.

    Raises:
        TfpruneError: the operating system refused (full disk, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_file():
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # HDF5 has a story to tell in `strerror`, the number says it in words.
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += "; what stood there before is untouched"
        raise TfpruneError(f"cannot write {str(path)!r}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            if os.path.isdir(temporary):
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path, below: str, names: str) -> None:
    """Removes the temporary files that a killed writer left behind.

    Args:
        folder: where to look; it need not exist.
        below: "" for the folder itself, "**/" for all below it too.
        names: pattern of the names that the files were to have.
    """
    for path in folder.glob(f"{below}.{8 * '[0-9a-f]'}-{names}"):
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def write_text(path: Path | str, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
