"""What users can say of shared weights: the bits of an index, and how k-means starts."""

from __future__ import annotations

import operator
from typing import Any

from tfprune.errors import UsageError

#: Bits of a codebook index.
SHARE_BITS = range(1, 13)
#: How k-means starts, the paper's best first (Deep Compression, section 3.2 and figure 4).
INITIALISATIONS = ("linear", "density", "random")


def parse_bits(text: str, flag: str) -> int | dict[str, int]:
    """What `--bits` says: "6" -> 6, "conv=8,fc=5" -> {"conv": 8, "fc": 5}.

    Args:
        text: of the flag.
        flag: its name, for the message.

    Raises:
        UsageError: neither of these forms, a name that is empty or there twice, or bits out of
            range.
    """
    try:
        if "=" not in text:
            found: int | dict[str, int] = int(text)
        else:
            pairs = [item.rsplit("=", 1) for item in text.split(",")]
            found = {name.strip(): int(bits) for name, bits in pairs}
            if "" in found or len(found) < len(pairs):
                raise ValueError
    except ValueError:
        raise UsageError(
            f"{flag} must be a number such as 6, or numbers by kind or layer such as conv=8,fc=5. "
            f"Received: {text!r}"
        ) from None
    if isinstance(found, int):
        return checked_bits(found, flag, repr(text))
    return {name: checked_bits(bits, flag, repr(text)) for name, bits in found.items()}


def checked_bits(bits: Any, what: str, received: str) -> int:
    """The bits of a codebook index as an `int`.

    Args:
        bits: a whole number of any type; 5.0 and True are none.
        what: they are, for the message.
        received: what was, for the message.

    Raises:
        UsageError: they are not from 1 to 12.
    """
    try:
        whole = 0 if isinstance(bits, bool) else operator.index(bits)
    except TypeError:
        whole = 0
    if whole not in SHARE_BITS:
        raise UsageError(
            f"{what} must be whole numbers from {SHARE_BITS[0]} to {SHARE_BITS[-1]}. "
            f"Received: {received}"
        )
    return whole
