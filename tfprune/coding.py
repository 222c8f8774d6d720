"""What users can say of a `.tfprune` file: its coder, and the bits of what it does not code."""

from __future__ import annotations

#: Coders, the one that makes smaller files first.
CODER_NAMES = ("context", "huffman")
#: Bits of the variables that are not coded.
OTHER_BITS = (32, 16, 8)
