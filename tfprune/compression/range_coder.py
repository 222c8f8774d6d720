"""A range coder whose probabilities are whole numbers, the same on every machine.

The coder itself is the library `constriction` (24-bit probabilities, 32-bit words). It takes
floats; each given here is a whole number, or one divided by a power of two, and so exact in
float64. What the library does with them is one IEEE operation after another, and a golden
file in the tests notices if that ever changes.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np

from tfprune.compression.byte_reader import ByteReader

_MODELS = constriction.stream.model

#: Bits of the probability of a flag.
FLAG_BITS = 20

_FIRST_BLOCK = 16


class Frequencies:
    """How often each symbol of an alphabet was coded, while more of it is.

    A symbol seen c times has the weight 2 c + 1 (Krichevsky and Trofimov 1981).
    """

    def __init__(self, alphabet: int) -> None:
        """Nothing was coded yet.

        Args:
            alphabet: number of symbols, from 1; one alone takes nothing.
        """
        self.weights = np.ones(alphabet)
        self._seen = 0

    def blocks(self, count: int) -> Iterator[slice]:
        """Parts of the next `count` symbols to be coded at the same weights.

        The first of all has 16 symbols, each other a quarter of all before it, 16 at least.
        """
        start = 0
        while start < count and len(self.weights) > 1:
            stop = min(count, start + max(_FIRST_BLOCK, self._seen // 4))
            yield slice(start, stop)
            start = stop

    def learn(self, symbols: np.ndarray) -> None:
        """Counts symbols that were coded."""
        self.weights += 2 * np.bincount(symbols, minlength=len(self.weights))
        self._seen += len(symbols)


class RangeEncoder:
    """Writes symbols one array after another."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def flags(self, flags: np.ndarray, chances: np.ndarray) -> None:
        """Codes booleans, each with its own probability.

        Args:
            flags: (n,) bool.
            chances: (n,) integers from 1 to 2^20 - 1: of True, in 2^-20.
        """
        if len(flags):
            model = _MODELS.Bernoulli(perfect=False)
            self._coder.encode(flags.astype(np.int32), model, np.ldexp(chances, -FLAG_BITS))

    def adaptive(self, symbols: np.ndarray, frequencies: Frequencies) -> None:
        """Codes symbols with the frequencies of those before them, and counts them.

        Args:
            symbols: (n,) integers of the alphabet, from 0.
            frequencies: of the symbols before.
        """
        symbols = symbols.astype(np.int32)
        for block in frequencies.blocks(len(symbols)):
            model = _MODELS.Categorical(frequencies.weights, perfect=False)
            self._coder.encode(symbols[block], model)
            frequencies.learn(symbols[block])

    def uniform(self, symbols: np.ndarray, alphabet: int) -> None:
        """Codes symbols that are equally likely, such as the low digits of a number."""
        if len(symbols):
            self._coder.encode(symbols.astype(np.int32), _MODELS.Uniform(alphabet))

    def to_bytes(self) -> bytes:
        """All that was coded: whole little-endian words of 32 bits."""
        return self._coder.get_compressed().astype("<u4").tobytes()


class RangeDecoder:
    """Reads what a `RangeEncoder` wrote, given the same arguments in the same order.

    Damaged words decode to other symbols, within their alphabets, or to a `TfpruneError`.

    Args:
        reader: all that is left of it is the coder's.
    """

    def __init__(self, reader: ByteReader) -> None:
        if reader.left % 4:
            raise reader.damaged("a coded stream that is no whole number of words")
        words = reader.array("<u4", reader.left // 4).astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)
        self._reader = reader

    def flags(self, chances: np.ndarray) -> np.ndarray:
        """(n,) bool."""
        if not len(chances):
            return np.zeros(0, bool)
        model = _MODELS.Bernoulli(perfect=False)
        return self._decode(model, np.ldexp(chances, -FLAG_BITS)).astype(bool)

    def adaptive(self, count: int, frequencies: Frequencies) -> np.ndarray:
        """(count,) int32 of the alphabet, from 0."""
        symbols = np.zeros(count, np.int32)
        for block in frequencies.blocks(count):
            model = _MODELS.Categorical(frequencies.weights, perfect=False)
            symbols[block] = self._decode(model, block.stop - block.start)
            frequencies.learn(symbols[block])
        return symbols

    def uniform(self, count: int, alphabet: int) -> np.ndarray:
        """(count,) int32 from 0 to alphabet - 1."""
        if not count:
            return np.zeros(0, np.int32)
        return self._decode(_MODELS.Uniform(alphabet), count)

    def end(self) -> None:
        """Raises if there are certainly symbols left."""
        if not self._coder.maybe_exhausted():
            raise self._reader.damaged("symbols after the last one")

    def _decode(self, model: object, what: object) -> np.ndarray:
        try:
            return self._coder.decode(model, what)
        except (AssertionError, ValueError) as error:  # the library's word for impossible words
            raise self._reader.damaged("a coded stream that cannot be") from error
