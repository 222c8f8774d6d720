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
from tfprune.share_bits import parse_bits

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
        "--rate",
        type=float,
        default=0.0,
        help="share weights with a price on bits: 0 (default) none, 0.01 or so costs little",
    )
    parser.add_argument(
        "--bytes",
        type=int,
        default=0,
        help="share weights at the lowest price at which the file has at most so many bytes",
    )
    parser.add_argument(
        "--other_bits",
        type=int,
        default=32,
        help="of biases and batch norms: 32 (default, exact), 16 or 8",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Compresses what the command line names and returns the exit status.

    Args:
        arguments: the command line without the program; None takes `sys.argv`.
    """
    return exit_status_of(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    bits = None if options.bits is None else parse_bits(options.bits, "--bits")
    # Only now: --help and wrong usage are not to wait for the libraries below.
    from tfprune.compression.coders import coder_named
    from tfprune.compression.plain import check_other_bits

    coder_named(options.coder)
    check_other_bits(options.other_bits)
    for name in ("rate", "bytes"):
        if getattr(options, name) and bits is None:
            raise UsageError(f"--{name} needs --bits. Received: {getattr(options, name)}")
    if options.rate and options.bytes:
        raise UsageError(
            f"--rate and --bytes exclude each other. Received: {options.rate} and {options.bytes}"
        )
    source = Path(options.model)
    if source.is_dir():
        source, out = source / _PRUNED, source / _ARTIFACT
    else:
        out = source.with_suffix(".tfprune")
    if not source.is_file():
        raise TfpruneError(f"there is no model {str(source)!r}")
    out = Path(options.out) if options.out else out
    # A .keras file is read by the Keras that wrote it.
    choose_keras(keras_line_of(source))
    with quiet():
        import numpy as np

        from tfprune.compression.artifact import load_compressed, save_compressed
        from tfprune.compression.price import price_within
        from tfprune.compression.sharing import share_weights
        from tfprune.export.stored import named_weights
        from tfprune.pruning.pruner import load_model, strip

        original = strip(load_model(source, compile=False))
    form = {"coder": options.coder, "other_bits": options.other_bits}
    model, rate = original, options.rate
    if options.bytes:
        rate = price_within(original, bits, options.bytes, **form)
        print(f"shared at a price of {rate:.3g} a bit")
    if bits is not None:
        model = share_weights(original, bits, rate=rate)
    report = save_compressed(model, out, **form)
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
    if changed and bits is None and options.other_bits == 32:
        raise TfpruneError(f"{str(out)!r} does not hold the weights of {str(source)!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
