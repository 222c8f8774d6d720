"""The coder `huffman`: relative indices and Huffman codes, as in Deep Compression.

Han et al. 2016, sections 2 and 4. Bytes of a tensor (numbers as in `byte_reader`):

    gap bits    1 byte    8 for kernels of convolutions, 5 for those of dense layers
    gaps        number    weights kept, and padding zeros
    kept        number    weights kept
    entries     number    of the codebook; 0: values are plain float32
    codebook    4 bytes each, little-endian float32
    gap codes   a table and codes of `huffman`, of each gap - 1
    values      with a codebook a table and codes of `huffman`: 0 for a padding zero, else
                1 + index; without one 4 bytes each, little-endian float32, padding zeros +0.0
"""

from __future__ import annotations

import numpy as np

from tfprune.compression import huffman
from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.compression.relative_index import from_gaps, to_gaps
from tfprune.compression.tensor import SparseTensor, read_codebook

_CONV_BITS, _FC_BITS = 8, 5
_LARGEST_GAP_BITS = 16


def gap_bits(shape: tuple[int, ...]) -> int:
    """Bits of a gap: the paper's 8 for convolutions, which have three axes or more; else 5."""
    return _CONV_BITS if len(shape) > 2 else _FC_BITS


def encode(tensor: SparseTensor) -> bytes:
    """Codes a tensor; see the module for the bytes."""
    bits = gap_bits(tensor.shape)
    gaps, is_kept = to_gaps(tensor.positions, bits)
    codebook = np.zeros(0, np.float32) if tensor.codebook is None else tensor.codebook
    head = bytes([bits]) + number_bytes(len(gaps)) + number_bytes(tensor.kept)
    head += number_bytes(len(codebook)) + codebook.astype("<f4").tobytes()
    coded = huffman.encode(gaps - 1, 1 << bits)
    if tensor.codebook is None:
        values = np.zeros(len(gaps), "<f4")
        values[is_kept] = tensor.values
        return head + coded + values.tobytes()
    symbols = np.zeros(len(gaps), np.int64)
    symbols[is_kept] = 1 + tensor.values
    return head + coded + huffman.encode(symbols, 1 + len(codebook))


def decode(reader: ByteReader, shape: tuple[int, ...]) -> SparseTensor:
    """Reads what `encode` wrote.

    Args:
        reader: all that is left of it is the tensor's.
        shape: of the tensor, which the caller has found possible.

    Raises:
        TfpruneError: bytes that `encode` does not write. Damage that turns into other codes
            is found by the checksum of the file alone.
    """
    empty = SparseTensor(shape, np.zeros(0, np.int64), np.zeros(0, np.float32))
    bits = reader.byte()
    if not 1 <= bits <= _LARGEST_GAP_BITS:
        raise reader.damaged(f"gaps of {bits} bits")
    entries = reader.number(at_most=empty.size)
    kept = reader.number(at_most=entries)
    codebook = read_codebook(reader)
    gaps = huffman.decode(reader, entries, 1 << bits) + 1
    if codebook is None:
        values = reader.array("<f4", entries).astype(np.float32)
        is_kept = values.view(np.uint32) != 0
    else:
        symbols = huffman.decode(reader, entries, 1 + len(codebook))
        is_kept = symbols > 0
        values = (symbols - 1).astype(np.int32)
    reader.end()
    if np.count_nonzero(is_kept) != kept:
        raise reader.damaged(f"{np.count_nonzero(is_kept)} weights where {kept} are claimed")
    if gaps.sum() > empty.size:
        raise reader.damaged(f"its last weight is number {gaps.sum()} of {empty.size}")
    return SparseTensor(shape, from_gaps(gaps, is_kept), values[is_kept], codebook)
