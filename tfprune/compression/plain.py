"""Variables that are not coded (biases, batch norms): 32, 16 or 8 bits a value.

The forms of float32 values in a file:

    float32    as they are
    float16    rounded to nearest
    int8       little-endian float32 step s = max |v| / 127, then for each value the int8
               q = round(v / s): it comes back as q s, zero as exactly +0.0

With 8 bits an array without a negative value is kept as float16: scales and variances have
to be right in proportion, those of dead units exactly zero. So is one that is not finite.
Either is float32 where a value lies outside the range in which float16 is right in
proportion, to 2^-11: 2^-14 to 65504.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from tfprune.coding import OTHER_BITS
from tfprune.compression.byte_reader import ByteReader
from tfprune.errors import UsageError

#: Types of variables that a file can hold.
DTYPES = (
    *("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
_LEVELS = 127
# Of what float16 holds to the full 11 bits.
_SMALLEST, _LARGEST = np.finfo(np.float16).smallest_normal, np.finfo(np.float16).max


def check_other_bits(bits: int) -> None:
    """Refuses numbers of bits that there is no form for.

    Raises:
        UsageError: not one of 32, 16, 8.
    """
    if isinstance(bits, bool) or bits not in OTHER_BITS:
        raise UsageError(
            f"other_bits must be one of {', '.join(map(str, OTHER_BITS))}. Received: {bits!r}"
        )


def form_of(array: np.ndarray, bits: int) -> str:
    """The form in which an array is stored: its own type unless that is float32."""
    if array.dtype != np.float32 or bits == 32:
        return str(array.dtype)
    if bits == 16:
        return "float16"
    if np.isfinite(array).all() and not (array >= 0).all():
        return "int8"
    sizes = np.abs(array[np.isfinite(array) & (array != 0)])
    return "float16" if ((sizes >= _SMALLEST) & (sizes <= _LARGEST)).all() else "float32"


def is_form(dtype: str, form: str, version: int) -> bool:
    """Whether a file of that version can hold variables of a type in a form."""
    if dtype not in DTYPES:
        return False
    shorter = ("float16",) if version < 2 else ("float16", "int8")
    return form == dtype or (dtype == "float32" and form in shorter)


class Reader(Protocol):
    """What arrays come from: `ByteReader`, or `PlainDecoder`."""

    def array(self, dtype: str, count: int) -> np.ndarray:
        """`count` numbers of a little-endian type such as "<f4"."""


def plain_arrays(name: str, array: np.ndarray, form: str) -> list[np.ndarray]:
    """What is stored of a variable in a form: little-endian arrays (n,), the last axis fastest.

    Raises:
        UsageError: a value beyond float16.
    """
    if form == "int8" and array.dtype == np.float32:
        step = np.float32(np.abs(array).max(initial=0) / np.float32(_LEVELS))
        levels = np.rint(array / (step or np.float32(1)))  # a step may underflow to zero
        levels = np.clip(levels, -_LEVELS, _LEVELS).astype(np.int8)
        return [np.array([step], "<f4"), levels.reshape(-1)]
    with np.errstate(over="ignore"):
        stored = array.astype(f"<{np.dtype(form).str[1:]}")
    lost = np.isinf(stored) & np.isfinite(array) if form == "float16" else np.zeros(1, bool)
    if lost.any():
        raise UsageError(
            f"variable {name!r} does not fit into float16, which ends at 65504. "
            f"Received: {array[lost].flat[0]}"
        )
    return [stored.reshape(-1)]


def pack_plain(name: str, array: np.ndarray, form: str) -> bytes:
    """The bytes of `plain_arrays`."""
    return b"".join(each.tobytes() for each in plain_arrays(name, array, form))


def read_plain(reader: Reader, shape: tuple[int, ...], dtype: str, form: str) -> np.ndarray:
    """The inverse of `plain_arrays`: an array of that type and shape."""
    count = math.prod(shape)
    if form == "int8" and dtype == "float32":
        step = reader.array("<f4", 1).astype(np.float32)
        levels = reader.array("i1", count).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # a step that tfprune never writes
            return np.where(levels == 0, np.float32(0), levels * step).reshape(shape)
    values = reader.array(f"<{np.dtype(form).str[1:]}", count)
    return values.astype(dtype).reshape(shape)


def rounded(name: str, array: np.ndarray, bits: int) -> np.ndarray:
    """What an array is after it was stored with so many bits."""
    form = form_of(array, bits)
    reader = ByteReader(pack_plain(name, array, form), name)
    return read_plain(reader, array.shape, str(array.dtype), form)
