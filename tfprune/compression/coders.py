"""The coders by name: how a tensor becomes bytes and comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfprune.compression import context, paper
from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Coder:
    """A pair of functions, the second undoing the first.

    Attributes:
        name: as a user and the messages call it.
        number: as a file calls it.
        encode: tensor -> bytes.
        decode: (bytes, shape) -> the tensor, bit by bit; a `TfpruneError` for bytes that
            `encode` does not write. Allocates no more than a few arrays of the shape.
        codes_plain: whether files with it code their other variables, too (`plain_coder`).
    """

    name: str
    number: int
    encode: Callable[[SparseTensor], bytes]
    decode: Callable[[ByteReader, tuple[int, ...]], SparseTensor]
    codes_plain: bool


#: Name -> coder.
CODERS: dict[str, Coder] = {
    coder.name: coder
    for coder in (
        Coder("huffman", 1, paper.encode, paper.decode, codes_plain=False),
        Coder("context", 2, context.encode, context.decode, codes_plain=True),
    )
}


def coder_named(name: str) -> Coder:
    """The coder of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in CODERS:
        raise UsageError(f"coder must be one of {', '.join(CODERS)}. Received: {name!r}")
    return CODERS[name]
