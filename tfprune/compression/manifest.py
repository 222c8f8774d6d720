"""The manifest of a `.tfprune` file: architecture and variables, as compressed JSON.

Since version 2 the compressor knows beforehand what configurations of Keras look like: it is
given `manifest_dictionary.txt`, the preset dictionary of zlib (RFC 1950), which is a part of
the format and never changes. It saves some hundred bytes.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.plain import is_form

#: The form of a variable that goes through a coder.
CODED = "coded"
_LONGEST = 1 << 23
_MOST_WEIGHTS = 1 << 40
_DICTIONARY = Path(__file__).with_name("manifest_dictionary.txt")


def pack_manifest(manifest: dict[str, Any]) -> bytes:
    """The bytes of a manifest, of the newest version.

    Args:
        manifest: `architecture`, `keras` and `variables`, as `container` describes them.
    """
    text = json.dumps(manifest, separators=(",", ":")).encode()
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zdict=_DICTIONARY.read_bytes())
    return deflate.compress(text) + deflate.flush()


def read_manifest(body: ByteReader, version: int) -> dict[str, Any]:
    """The manifest, its form checked.

    Args:
        body: all that is left of it is the manifest.
        version: of the file.

    Raises:
        TfpruneError: it is none, or longer than 8 MiB of JSON.
    """
    dictionary = _DICTIONARY.read_bytes() if version > 1 else b""
    inflate = zlib.decompressobj(15, zdict=dictionary)
    try:
        text = inflate.decompress(body.take(body.left), _LONGEST)
        if not inflate.eof or inflate.unused_data:
            raise body.damaged("its manifest is cut short, or longer than it may be")
        manifest = json.loads(text)
        variables = manifest["variables"]
        names = [name for name, shape, dtype, form in variables]
        fine = (
            isinstance(manifest["architecture"], dict)
            and isinstance(manifest["keras"], str)
            and all(isinstance(name, str) for name in names)
            and len(set(names)) == len(names)
            and all(_is_variable(version, *variable[1:]) for variable in variables)
        )
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise body.damaged(f"its manifest is none ({error})") from error
    if not fine:
        raise body.damaged("its manifest is not as tfprune writes it")
    return manifest


def _is_variable(version: int, shape: Any, dtype: Any, form: Any) -> bool:
    sizes = isinstance(shape, list) and all(
        isinstance(size, int) and 0 <= size < 1 << 32 for size in shape
    )
    # An axis of 0 excuses no other: NumPy takes no such shape either.
    possible = sizes and len(shape) <= 16 and math.prod(max(1, s) for s in shape) < _MOST_WEIGHTS
    coded = form == CODED and dtype == "float32"
    return possible and (coded or is_form(dtype, form, version))
