"""One small file from a pruned model: `python -m tfprune.compress runs/quickstart-seed0`.

Writes RUN_DIR/model.tfprune from RUN_DIR/pruned.keras (or FILE.tfprune from FILE.keras),
loads it again, compares every weight, and prints the bytes of each stage. `--bits=conv=8,fc=5`
shares weights first, with the paper's codebooks; without it every weight is kept to the bit.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tfprune.command import ArgumentParser, exit_status_of
from tfprune.errors import TfpruneError, UsageError
from tfprune.keras_line import choose_keras, keras_line_of
from tfprune.quiet import quiet

_ARTIFACT = "model.tfprune"
_PRUNED = "pruned.keras"


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tfprune.compress",
        description="Codes a pruned model into one .tfprune file and prints what each stage of "
        "Deep Compression saves.",
        epilog="exit status: 0 written and every weight compared; 1 a file cannot be read or "
        "written; 2 wrong usage",
    )
    parser.add_argument(
        "model", metavar="RUN_DIR|FILE.keras", help="a run folder (its pruned.keras) or a model"
    )
    parser.add_argument("--out", metavar="FILE", help=f"default: RUN_DIR/{_ARTIFACT}, FILE.tfprune")
    parser.add_argument("--coder", default="context", help="context (default) or huffman")
    parser.add_argument(
        "--bits",
        metavar="BITS",
        help="share weights: bits of an index, 1 to 12, for all layers (6), or by kind or layer "
        "(conv=8,fc=5)",
    )
    parser.add_argument(
        "--half", action="store_true", help="store biases and batch norms as float16"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Compresses what the command line names and returns the exit status.

    Args:
        arguments: the command line without the program; None takes `sys.argv`.
    """
    return exit_status_of(lambda: _main(arguments))


def parse_bits(text: str | None) -> int | dict[str, int] | None:
    """What `--bits` says: "6" -> 6, "conv=8,fc=5" -> {"conv": 8, "fc": 5}, None -> None.

    Raises:
        UsageError: neither of these forms.
    """
    if text is None:
        return None
    try:
        if "=" not in text:
            return int(text)
        pairs = [item.rsplit("=", 1) for item in text.split(",")]
        return {name.strip(): int(bits) for name, bits in pairs}
    except ValueError:
        raise UsageError(
            "--bits must be a number such as 6, or numbers by kind or layer such as conv=8,fc=5. "
            f"Received: {text!r}"
        ) from None


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    bits = parse_bits(options.bits)
    # Only now: --help and wrong usage are not to wait for the libraries below.
    from tfprune.compression.coders import coder_named

    coder_named(options.coder)
    source = Path(options.model)
    out = source.with_suffix(".tfprune")
    if source.is_dir():
        source, out = source / _PRUNED, source / _ARTIFACT
    if not source.is_file():
        raise TfpruneError(f"there is no model {str(source)!r}")
    out = Path(options.out) if options.out else out
    # A .keras file is read by the Keras that wrote it.
    choose_keras(keras_line_of(source))
    with quiet():
        import numpy as np

        from tfprune.compression.artifact import load_compressed, save_compressed
        from tfprune.compression.sharing import share_weights
        from tfprune.export.stored import named_weights
        from tfprune.pruning.pruner import load_model, strip

        original = strip(load_model(source, compile=False))
    model = original if bits is None else share_weights(original, bits)
    report = save_compressed(model, out, coder=options.coder, half=options.half)
    with quiet():
        loaded = named_weights(load_compressed(out))
    print(f"{out}: {report.file_bytes:,} bytes\n\n{report}\n")
    before = named_weights(original)
    changed = {
        name: float(np.nanmax(np.abs(loaded[name].astype(float) - values.astype(float))))
        for name, values in before.items()
        if not np.array_equal(loaded[name], values, equal_nan=True)
    }
    equal = len(before) - len(changed)
    print(f"loaded again: {equal} of {len(before)} variables are equal to those of {source}")
    for name, change in changed.items():
        print(f"  {name}: values changed by at most {change:.3g}")
    if changed and bits is None and not options.half:
        raise TfpruneError(f"{str(out)!r} does not hold the weights of {str(source)!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
