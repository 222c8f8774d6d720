"""What users can say of shared and coded weights: bits, how k-means starts, coders."""

from __future__ import annotations

from tfprune.errors import UsageError

#: Bits of the variables that are not coded.
OTHER_BITS = (32, 16, 8)
#: Bits of a codebook index.
SHARE_BITS = range(1, 13)
#: How k-means starts, the paper's best first (Deep Compression, section 3.2 and figure 4).
INITIALISATIONS = ("linear", "density", "random")
#: Coders of a `.tfprune` file, the smaller one first.
CODER_NAMES = ("context", "huffman")


def parse_bits(text: str, flag: str) -> int | dict[str, int]:
    """What `--bits` says: "6" -> 6, "conv=8,fc=5" -> {"conv": 8, "fc": 5}.

    Args:
        text: of the flag.
        flag: its name, for the message.

    Raises:
        UsageError: neither of these forms, or bits out of range.
    """
    try:
        if "=" not in text:
            found = {"": int(text)}
        else:
            pairs = [item.rsplit("=", 1) for item in text.split(",")]
            found = {name.strip(): int(bits) for name, bits in pairs}
    except ValueError:
        raise UsageError(
            f"{flag} must be a number such as 6, or numbers by kind or layer such as conv=8,fc=5. "
            f"Received: {text!r}"
        ) from None
    for bits in found.values():
        if bits not in SHARE_BITS:
            raise UsageError(
                f"{flag} must be whole numbers from {SHARE_BITS[0]} to {SHARE_BITS[-1]}. "
                f"Received: {text!r}"
            )
    return found.get("", found)
