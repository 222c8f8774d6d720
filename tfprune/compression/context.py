"""The coder `context`: a range coder that learns from rows, columns and what came before.

Bytes of a tensor (numbers as in `byte_reader`):

    kept        number    weights kept
    entries     number    of the codebook; 0: values are plain float32
    codebook    4 bytes each, little-endian float32
    contexts    1 byte    bits 0-1 the mode of `significance`; bits 2-3 what values are
                          grouped by (`value_groups`); bits 4-5 log2 of the number of groups;
                          bit 6: positions are coded by `neighbours`, bits 0-1 then being 0;
                          bit 7: values have the classes of `value_signs`, too
    lag         number    with bit 6 alone: that of `neighbours`
    words       4 bytes each, to the end: the range coder's

and no more than the first three where nothing is kept. The range coder holds the positions;
for plain float32 the smallest and largest exponent (uniform in 256 symbols each); the group
of each row or column, if they are grouped (uniform); the symbols of the values, group after
group (adaptive), with bit 7 part after part of the tensor, in each group after group and in
these class after class; and for plain float32 the upper 12 and then the lower 11 bits of each
mantissa (uniform). The symbol of a value is its codebook index, or with exponents e from a to b
and the sign s (1 negative) s (b - a + 1) + e - a. Files of version 1 and 2 group by no density
and have no bit 7.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.compression.neighbours import (
    best_lag,
    decode_neighbours,
    encode_neighbours,
    is_possible,
)
from tfprune.compression.range_coder import Frequencies, RangeDecoder, RangeEncoder
from tfprune.compression.significance import best_mode, decode_positions, encode_positions
from tfprune.compression.tensor import SparseTensor, read_codebook
from tfprune.compression.value_groups import (
    COLUMNS,
    DENSITY,
    NOTHING,
    ROWS,
    ValueGroups,
    best_groups,
    group_of,
    lines_of,
)
from tfprune.compression.value_signs import CLASSES, ValueSigns, distances

# A float32 is a sign, an exponent, and a mantissa coded in two parts.
_EXPONENTS = 1 << 8
_HIGH, _LOW = 12, 11
# Bits of `contexts`: positions by their neighbours, values by the signs of theirs.
_NEIGHBOURS, _SIGNS = 1 << 6, 1 << 7


def encode(tensor: SparseTensor) -> bytes:
    """Codes a tensor; see the module for the bytes."""
    codebook = np.zeros(0, np.float32) if tensor.codebook is None else tensor.codebook
    head = number_bytes(tensor.kept) + number_bytes(len(codebook))
    head += codebook.astype("<f4").tobytes()
    if not tensor.kept:
        return head
    encoder = RangeEncoder()
    shape = tensor.matrix_shape
    mode, bits_by_mode = best_mode(tensor.positions, shape)
    lag = 0
    if is_possible(shape) and tensor.kept < tensor.size:
        found, bits_by_lag = best_lag(tensor.positions, shape)
        lag = found if bits_by_lag < bits_by_mode else 0
    if lag:
        encode_neighbours(encoder, tensor.positions, shape, lag)
    else:
        encode_positions(encoder, tensor.positions, shape, mode)
    symbols, alphabet = tensor.values, len(codebook)
    bits = tensor.values.view(np.uint32)
    if tensor.codebook is None:
        exponents = (bits >> (_HIGH + _LOW) & (_EXPONENTS - 1)).astype(np.int32)
        first, last = int(exponents.min()), int(exponents.max())
        encoder.uniform(np.array([first, last]), _EXPONENTS)
        span = last - first + 1
        symbols, alphabet = (bits >> 31).astype(np.int32) * span + exponents - first, 2 * span
    signs = _signs(tensor.positions, tensor.shape, shape, lag)
    if signs:
        signs.learn(slice(0, tensor.kept), ~np.signbit(tensor.floats()))
    groups = best_groups(tensor, symbols, alphabet, signs)
    if groups.depth and groups.by != DENSITY:
        encoder.uniform(groups.of_line, 1 << groups.depth)
    known = signs if groups.signs else None
    for members, frequencies in _parts(tensor.positions, shape[1], groups, alphabet, known):
        encoder.adaptive(symbols[members], frequencies)
    if tensor.codebook is None:
        encoder.uniform(bits >> _LOW & ((1 << _HIGH) - 1), 1 << _HIGH)
        encoder.uniform(bits & ((1 << _LOW) - 1), 1 << _LOW)
    contexts = (_NEIGHBOURS if lag else mode) | groups.by << 2 | groups.depth << 4
    contexts |= _SIGNS if groups.signs else 0
    head += bytes([contexts]) + (number_bytes(lag) if lag else b"")
    return head + encoder.to_bytes()


def decode(reader: ByteReader, shape: tuple[int, ...]) -> SparseTensor:
    """Reads what `encode` wrote.

    Args:
        reader: all that is left of it is the tensor's.
        shape: of the tensor, which the caller has found possible.

    Raises:
        TfpruneError: bytes that `encode` does not write. Damage that turns into other symbols
            is found by the checksum of the file alone.
    """
    empty = SparseTensor(shape, np.zeros(0, np.int64), np.zeros(0, np.float32))
    kept = reader.number(at_most=empty.size)
    codebook = read_codebook(reader)
    if not kept:
        reader.end()
        return empty
    contexts = reader.byte()
    mode, by, depth = contexts & 3, contexts >> 2 & 3, contexts >> 4 & 3
    rows, columns = empty.matrix_shape
    near = bool(contexts & _NEIGHBOURS)
    wrong = near and (mode or not is_possible((rows, columns)) or kept == empty.size)
    if wrong or (depth == 0) != (by == NOTHING):
        raise reader.damaged(f"contexts {contexts} that do not exist")
    lag = reader.number(at_most=rows) if near else 0
    if near and not lag:
        raise reader.damaged("a lag of 0")
    if contexts & _SIGNS and not distances(shape, lag):
        raise reader.damaged("signs nearby of what has no places")
    decoder = RangeDecoder(reader)
    if near:
        positions = decode_neighbours(decoder, reader, kept, (rows, columns), lag)
    else:
        positions = decode_positions(decoder, reader, kept, (rows, columns), mode)
    first = span = 0
    alphabet = 0 if codebook is None else len(codebook)
    if codebook is None:
        first, last = decoder.uniform(2, _EXPONENTS).tolist()
        span = last - first + 1
        if span < 1:
            raise reader.damaged(f"exponents from {first} to {last}")
        alphabet = 2 * span
    of_line = np.zeros(1, np.int64)
    if by in (ROWS, COLUMNS):
        of_line = decoder.uniform(lines_of(positions, columns, by)[1], 1 << depth)
    groups = ValueGroups(by, depth, of_line, signs=bool(contexts & _SIGNS))
    signs = _signs(positions, shape, (rows, columns), lag) if groups.signs else None
    symbols = np.zeros(kept, np.int32)
    negative = np.arange(alphabet) >= span if codebook is None else np.signbit(codebook)
    for members, frequencies in _parts(positions, columns, groups, alphabet, signs):
        symbols[members] = decoder.adaptive(len(members), frequencies)
        if signs:
            signs.learn(members, ~negative[symbols[members]])
    if codebook is not None:
        decoder.end()
        return SparseTensor(shape, positions, symbols, codebook)
    high = decoder.uniform(kept, 1 << _HIGH)
    low = decoder.uniform(kept, 1 << _LOW)
    decoder.end()
    sign, exponent = np.divmod(symbols, span)
    fields = ((sign, 31), (exponent + first, _HIGH + _LOW), (high, _LOW), (low, 0))
    bits = sum(field.astype(np.uint32) << shift for field, shift in fields)
    return SparseTensor(shape, positions, np.asarray(bits, np.uint32).view(np.float32))


def _signs(
    positions: np.ndarray, shape: tuple[int, ...], matrix: tuple[int, int], lag: int
) -> ValueSigns | None:
    rows = distances(shape, lag)
    return ValueSigns(positions, matrix, rows) if rows else None


def _parts(
    positions: np.ndarray,
    columns: int,
    groups: ValueGroups,
    alphabet: int,
    signs: ValueSigns | None,
) -> Iterator[tuple[np.ndarray, Frequencies]]:
    """(numbers of kept weights, the frequencies that code them), in the order of coding.

    With `signs`, one for each class, too: asked for after `signs` has learned the parts before.
    """
    group = group_of(positions, columns, groups)
    classes = CLASSES if signs else 1
    cells = [Frequencies(alphabet) for _ in range(classes << groups.depth)]
    for block in signs.blocks() if signs else [slice(0, len(positions))]:
        cell = group[block] * classes
        if signs:
            cell = cell + signs.classes(block)
        # Each cell's members in their order.
        order = np.argsort(cell, kind="stable") + block.start
        stops = np.cumsum(np.bincount(cell, minlength=len(cells)))
        for members, frequencies in zip(np.split(order, stops[:-1]), cells, strict=True):
            if len(members):
                yield members, frequencies
