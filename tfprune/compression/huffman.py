"""Canonical Huffman codes of whole arrays, with their tables."""

from __future__ import annotations

import numpy as np
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman, int2ba

from tfprune.compression.byte_reader import ByteReader, number_bytes

#: Longest code; a table holds 5 bits a symbol. Rarer symbols are coded as if less rare.
MAX_LENGTH = 24
_LENGTH_BITS = 5
_BLOCK = 1 << 20


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Length of each symbol's code, in bits.

    Args:
        counts: (symbols,) how often each occurs.

    Returns:
        (symbols,) int64, 0 for a symbol that does not occur. A symbol that occurs alone has
        0, too: there is nothing to tell.
    """
    lengths = np.zeros(len(counts), np.int64)
    counts = np.array(counts, np.int64)
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return lengths
    while True:
        codes, _, _ = canonical_huffman({int(symbol): int(counts[symbol]) for symbol in used})
        longest = max(map(len, codes.values()))
        if longest <= MAX_LENGTH:
            break
        # Halving flattens the distribution and leaves no count at zero.
        counts = (counts + 1) // 2
    for symbol, code in codes.items():
        lengths[symbol] = len(code)
    return lengths


def encode(symbols: np.ndarray, alphabet: int) -> bytes:
    """Codes an array together with its table.

    Bytes: number of entries of the table, n; n code lengths of 5 bits, the highest bit first,
    in whole bytes; number of bytes that follow; the codes, the highest bit first. Numbers are
    as in `byte_reader`. A canonical code is told by its lengths: codes of one length ascend
    with the symbol, and each is larger than the beginnings of the shorter ones are. An array
    of one symbol repeated has a table that ends with that symbol, all lengths 0, and no codes.

    Args:
        symbols: (n,) integers from 0 to alphabet - 1.
        alphabet: number of symbols.
    """
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = code_lengths(counts)[: int(symbols.max(initial=-1)) + 1]
    bits = (lengths[:, None] >> np.arange(_LENGTH_BITS)[::-1]) & 1
    code = bitarray(endian="big")
    words = _codes(lengths)
    if words:
        for start in range(0, len(symbols), _BLOCK):
            code.encode(words, symbols[start : start + _BLOCK].tolist())
    content = code.tobytes()
    table = number_bytes(len(lengths)) + np.packbits(bits.astype(bool)).tobytes()
    return table + number_bytes(len(content)) + content


def decode(reader: ByteReader, count: int, alphabet: int) -> np.ndarray:
    """Reads what `encode` wrote.

    Args:
        reader: stands at the table.
        count: number of symbols, which the caller has found possible.
        alphabet: number of symbols of the alphabet.

    Returns:
        (count,) int64.

    Raises:
        TfpruneError: a table or codes that `encode` does not write.
    """
    entries = reader.number(at_most=alphabet)
    packed = reader.array("u1", (entries * _LENGTH_BITS + 7) // 8)
    bits = np.unpackbits(packed, count=entries * _LENGTH_BITS).reshape(entries, _LENGTH_BITS)
    lengths = bits @ (1 << np.arange(_LENGTH_BITS)[::-1])
    content = reader.take(reader.number(at_most=reader.left))
    if not count:
        if entries or content:
            raise reader.damaged("there are codes and nothing to decode")
        return np.zeros(0, np.int64)
    if not lengths.any():
        if not entries or content:
            raise reader.damaged("a code of no symbols")
        return np.full(count, entries - 1, np.int64)
    # A complete code, and only that, fills the tree: Kraft's sum is 1.
    used = lengths[lengths > 0]
    if used.max() > MAX_LENGTH or np.sum(1 << (MAX_LENGTH - used)) != 1 << MAX_LENGTH:
        raise reader.damaged("a table that is no Huffman code's")
    if count > 8 * len(content):  # each symbol has one bit at least
        raise reader.damaged(f"{len(content)} bytes cannot hold {count} symbols")
    code = bitarray(endian="big")
    code.frombytes(content)
    symbols_of = np.lexsort((np.arange(entries), lengths))[entries - len(used) :]
    decoded = canonical_decode(code, np.bincount(used).tolist(), symbols_of.tolist())
    try:
        symbols = np.fromiter(decoded, np.int64, count)
    except ValueError as error:
        raise reader.damaged(f"its codes end before {count} symbols") from error
    if (int(lengths[symbols].sum()) + 7) // 8 != len(content):
        raise reader.damaged("bytes after the last code")
    return symbols


def _codes(lengths: np.ndarray) -> dict[int, bitarray]:
    """The canonical code of each symbol."""
    codes = {}
    code, previous = 0, 0
    for symbol in np.lexsort((np.arange(len(lengths)), lengths)).tolist():
        length = int(lengths[symbol])
        if not length:
            continue
        code <<= length - previous
        codes[symbol] = int2ba(code, length, endian="big")
        code, previous = code + 1, length
    return codes
