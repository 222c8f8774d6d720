"""The errors that are a user's to mend; everything else keeps its traceback."""

from __future__ import annotations

import zipfile
import zlib

#: What Python, NumPy, zipfile and zlib raise on bytes that are not what they should be. An
#: absurd size in a header is a MemoryError.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    SyntaxError,  # of an array's header
    zipfile.BadZipFile,
    zlib.error,
)


class TfpruneError(Exception):
    """Something outside tfprune's code is wrong: a file, a model, a data set, a disk.

    The command lines print its message as one line and exit with `exit_status`.
    The message says what was received and what is possible.
    """

    exit_status = 1


class UsageError(TfpruneError, ValueError):
    """An argument or a flag has a value that cannot be used (exit status 2)."""

    exit_status = 2
