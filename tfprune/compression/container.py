"""The `.tfprune` file, byte by byte. Nothing here needs Keras.

Whole numbers are little-endian; `number` is 7 bits a byte, the lowest first, the highest bit
set in all bytes but the last.

    header, 20 bytes
        0   8 bytes   93 54 46 50 52 55 4E 45: byte 0x93, then "TFPRUNE"
        8   1 byte    version of the format: 3; files of versions 1 and 2 are read, too
        9   1 byte    Keras line that wrote the model: 2 (tf_keras) or 3
        10  1 byte    coder of the tensors: 1 `huffman` (`paper`), 2 `context`
        11  1 byte    0
        12  4 bytes   number of sections
        16  4 bytes   CRC-32 of the 16 bytes before
    sections, one after another to the end of the file, each
        1 byte    kind: 1 manifest, 2 coded tensor, 3 plain variables
        number    bytes of content
        4 bytes   CRC-32 of the section's place (4 bytes, from 0), the kind, and the content
        content

The first section is the manifest: JSON in zlib's format (since version 2 with the preset
dictionary of `manifest`), an object with the keys `architecture` (the model's configuration as
Keras serializes it), `keras` (version) and `variables`, a list of [name, shape, dtype, form].
The form is "coded", or how the values are stored: as the variable's type, or of float32
variables float16 or, since version 2, int8 (see `plain`).

Then comes a section for each coded variable, in the order of the manifest: number of bytes
of code, the code as the coder's module describes it, zero bytes up to a 1024th of the number
of weights. So the arrays of a file take no more than 4 kilobytes for each of its bytes (and
a few times that while they are decoded); a larger claim is refused before it is allocated.

The last section holds the values of all other variables, in the order of the manifest, each
flattened with its last axis fastest, in their forms; with the coder `context`, since version 3,
as `plain_coder` codes them: number of bytes of code, the code, zero bytes up to a 1024th of the
number of values.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.compression.coders import CODERS, Coder
from tfprune.compression.manifest import CODED, pack_manifest, read_manifest
from tfprune.compression.plain import DTYPES, form_of, plain_arrays, read_plain
from tfprune.compression.plain_coder import PlainDecoder, PlainEncoder
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import TfpruneError, UsageError

MAGIC = b"\x93TFPRUNE"
VERSION = 3
#: Versions that are read.
VERSIONS = (1, 2, 3)
KERAS_LINES = (2, 3)

_HEADER = struct.Struct("<8sBBBBI")
_MANIFEST, _TENSOR, _PLAIN = 1, 2, 3
_WEIGHTS_PER_BYTE = 1024
_LARGEST_FILE = 1 << 40


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """What a file holds.

    Attributes:
        keras_line: 2 or 3.
        keras_version: of the Keras that wrote the model.
        architecture: the model's configuration.
        arrays: name -> value of each variable, in order.
        coded: names of those that go through a coder: float32.
    """

    keras_line: int
    keras_version: str
    architecture: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    coded: frozenset[str]


def pack(
    content: Content, coder: Coder, tensors: Mapping[str, bytes], *, other_bits: int = 32
) -> bytes:
    """The bytes of a file.

    Args:
        content: what goes in.
        coder: which coder made the codes.
        tensors: name -> code of each coded variable.
        other_bits: 32, 16 or 8, of the other float32 variables.

    Raises:
        UsageError: a variable of a type that files do not hold, or beyond float16 with 16 bits.
    """
    variables: list[list] = []
    plain: list[np.ndarray] = []
    sections: list[tuple[int, bytes]] = []
    for name, array in content.arrays.items():
        dtype = str(array.dtype)
        if dtype not in DTYPES:
            raise UsageError(
                f"variable {name!r} is of a type that cannot be stored. Received: {dtype}. "
                f"Possible: {', '.join(DTYPES)}"
            )
        form = CODED if name in content.coded else form_of(array, other_bits)
        if form == CODED:
            sections.append((_TENSOR, _padded(tensors[name], array.size)))
        else:
            plain += plain_arrays(name, array, form)
        variables.append([name, list(array.shape), dtype, form])
    manifest = {
        "architecture": content.architecture,
        "keras": content.keras_version,
        "variables": variables,
    }
    sections.insert(0, (_MANIFEST, pack_manifest(manifest)))
    sections.append((_PLAIN, _pack_all_plain(plain, coder)))
    header = _HEADER.pack(MAGIC, VERSION, content.keras_line, coder.number, 0, len(sections))
    parts = [header, struct.pack("<I", zlib.crc32(header))]
    for place, (kind, body) in enumerate(sections):
        parts += [bytes([kind]), number_bytes(len(body)), _checksum(place, kind, body), body]
    return b"".join(parts)


def read(path: Path) -> tuple[Content, Coder]:
    """Reads a whole file, a section at a time.

    Raises:
        TfpruneError: it is missing, no such file, of another version, cut short or altered.
    """
    what = repr(str(path))
    with _open(path) as file:
        version, keras_line, coder, count = _header(file, what)
        sections = _sections(file, count, what)
        manifest = read_manifest(ByteReader(_expect(sections, _MANIFEST, what), what), version)
        arrays: dict[str, np.ndarray] = {}
        for name, shape, _, form in manifest["variables"]:
            arrays[name] = np.zeros(0, np.float32)  # keeps the order
            if form == CODED:
                body = ByteReader(_expect(sections, _TENSOR, what), f"{what} ({name})")
                arrays[name] = _tensor(body, coder, tuple(shape)).to_array()
        body = ByteReader(_expect(sections, _PLAIN, what), what)
        plain = [variable for variable in manifest["variables"] if variable[3] != CODED]
        values = sum(math.prod(shape) for _, shape, _, _ in plain)
        is_coded = version > 2 and coder.codes_plain
        reader = PlainDecoder(_unpadded(body, values, "values")) if is_coded else body
        for name, shape, dtype, form in plain:
            arrays[name] = read_plain(reader, tuple(shape), dtype, form)
        reader.end()
        if next(sections, None) is not None or file.read(1):
            raise TfpruneError(f"{what} is damaged: it goes on after its last section")
    coded = frozenset(name for name, *_, form in manifest["variables"] if form == CODED)
    held = Content(keras_line, manifest["keras"], manifest["architecture"], arrays, coded)
    return held, coder


def keras_line_of(path: Path) -> int:
    """The Keras that wrote the model of a file, 2 (tf_keras) or 3, from its header alone.

    Raises:
        TfpruneError: it is missing, or its header is none.
    """
    with _open(path) as file:
        return _header(file, repr(str(path)))[1]


def _checksum(place: int, kind: int, body: bytes) -> bytes:
    head = struct.pack("<IB", place, kind)
    return struct.pack("<I", zlib.crc32(body, zlib.crc32(head)))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise TfpruneError(f"cannot read {str(path)!r}: {error.strerror}") from error


def _header(file: BinaryIO, what: str) -> tuple[int, int, Coder, int]:
    """(version, Keras line, coder, number of sections)."""
    header = file.read(_HEADER.size)
    checksum = file.read(4)
    if header[: len(MAGIC)] != MAGIC:
        raise TfpruneError(f"{what} is no .tfprune file")
    if len(checksum) < 4 or checksum != struct.pack("<I", zlib.crc32(header)):
        raise TfpruneError(f"{what} is damaged: its header is not what was written")
    _, version, keras_line, number, _, count = _HEADER.unpack(header)
    if version not in VERSIONS:
        raise TfpruneError(
            f"{what} is a .tfprune file of version {version}; this tfprune reads "
            f"{', '.join(map(str, VERSIONS))}"
        )
    coders = {coder.number: coder for coder in CODERS.values()}
    if number not in coders or keras_line not in KERAS_LINES:
        raise TfpruneError(
            f"{what} names coder {number} and Keras {keras_line}; this tfprune knows coders "
            f"{', '.join(map(str, coders))} and Keras {', '.join(map(str, KERAS_LINES))}"
        )
    return version, keras_line, coders[number], count


def _sections(file: BinaryIO, count: int, what: str) -> Iterator[tuple[int, bytes]]:
    """(kind, content) of each section; no more is read than the file has."""
    here = file.tell()
    size = file.seek(0, 2)
    file.seek(here)
    for place in range(count):
        # Kind, length and checksum take 14 bytes at most; the content is read on its own.
        start = file.tell()
        head = ByteReader(file.read(14), what)
        kind = head.byte()
        length = head.number(at_most=_LARGEST_FILE)
        checksum = head.take(4)
        start += min(14, size - start) - head.left
        if length > size - start:
            raise head.damaged(f"it ends {length - (size - start)} bytes early")
        file.seek(start)
        body = file.read(length)
        if checksum != _checksum(place, kind, body):
            raise head.damaged(f"section {place} is not what was written (CRC-32)")
        yield kind, body


def _expect(sections: Iterator[tuple[int, bytes]], kind: int, what: str) -> bytes:
    found = next(sections, None)
    if found is None or found[0] != kind:
        received = "none" if found is None else f"one of kind {found[0]}"
        raise TfpruneError(
            f"{what} is damaged: a section of kind {kind} is due, there is {received}"
        )
    return found[1]


def _pack_all_plain(arrays: list[np.ndarray], coder: Coder) -> bytes:
    if not coder.codes_plain:
        return b"".join(array.tobytes() for array in arrays)
    encoder = PlainEncoder()
    for array in arrays:
        encoder.array(array)
    return _padded(encoder.to_bytes(), sum(map(len, arrays)))


def _padded(code: bytes, values: int) -> bytes:
    """A code with its length before it, and zeros after it for what it claims to hold."""
    return (number_bytes(len(code)) + code).ljust(-(-values // _WEIGHTS_PER_BYTE), b"\0")


def _unpadded(body: ByteReader, values: int, of_what: str) -> ByteReader:
    """The inverse: the code alone. At least so many values are claimed to be in it."""
    if values > _WEIGHTS_PER_BYTE * body.left:
        raise body.damaged(f"{body.left} bytes cannot hold the {values} {of_what} claimed")
    code = ByteReader(body.take(body.number(at_most=body.left)), body.what)
    if body.take(body.left).strip(b"\0"):
        raise body.damaged("its padding is not zero")
    return code


def _tensor(body: ByteReader, coder: Coder, shape: tuple[int, ...]) -> SparseTensor:
    code = _unpadded(body, math.prod(shape), "weights")
    return coder.decode(code, shape)
