"""What the workers of --strategy=multi_worker send each other, computed from the networks.

    python tools/communication.py                      # prints the table
    python tools/communication.py --workers=8 --batch_size=64 --machines=15000:25
    python tools/communication.py --out=results/performance/communication.md

Each step sums the gradients of the P trainable parameters over w workers. In a ring each
worker sends, and receives, 4 P x 2 (w - 1) / w bytes. A step's arithmetic is taken as
3 x 2 x multiply-accumulates x images of a worker (forward, and twice that backward);
communication and arithmetic are taken not to overlap. The speeds of both are stated, not
measured: use your own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfprune.atomic import write_text
from tfprune.command import exit_status_of

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Network, input, classes, and how the table calls them.
NETWORKS = (
    ("lenet5", (28, 28, 1), 10, "LeNet-5, MNIST"),
    ("alexnet", (32, 32, 3), 10, "AlexNet, CIFAR-10"),
    ("vgg16_bn", (32, 32, 3), 10, "VGG-16-BN, CIFAR-10"),
    ("vgg16_bn", (224, 224, 3), 1000, "VGG-16-BN, ImageNet"),
)


def ring_bytes(parameters: int, workers: int) -> float:
    """Bytes that each worker of a ring sends to sum float32 gradients: 4 P x 2 (w - 1) / w."""
    return 4 * parameters * 2 * (workers - 1) / workers


def fraction(communication_seconds: float, step_seconds: float) -> float:
    """Part of a step's time that is communication, where neither hides behind the other."""
    return communication_seconds / (communication_seconds + step_seconds)


def sizes() -> list[tuple[str, int, int]]:
    """(title, trainable parameters, multiply-accumulates an image) of each network."""
    from tfprune.models import build
    from tfprune.pruning.macs import macs
    from tfprune.quiet import quiet

    found = []
    for name, shape, classes, title in NETWORKS:
        with quiet():
            model = build(name, shape, classes)
        parameters = sum(int(weight.shape.num_elements()) for weight in model.trainable_weights)
        found.append((title, parameters, sum(dense for dense, _ in macs(model).values())))
        del model
    return found


def table(networks: Sequence[tuple[str, int, int]], options: Any) -> str:
    """The table in Markdown."""
    heads = [f"{gflops:,g} GFLOP/s, {gbits:g} Gbit/s" for gflops, gbits in options.machines]
    lines = [
        "| network | trainable parameters | sent a step | " + " | ".join(heads) + " |",
        "| --- | ---: | ---: |" + " ---: |" * len(heads),
    ]
    for title, parameters, operations in networks:
        sent = ring_bytes(parameters, options.workers)
        cells = []
        for gflops, gbits in options.machines:
            step = 6 * operations * options.batch_size / (gflops * 1e9)
            communication = sent * 8 / (gbits * 1e9)
            part = fraction(communication, step)
            cells.append(f"{step:.2g} s + {communication:.2g} s: {part:.0%}")
        row = [title, f"{parameters:,}", f"{sent / 1e6:,.1f} MB", *cells]
        lines.append("| " + " | ".join(row) + " |")
    lines += [
        "",
        f"{options.workers} workers, {options.batch_size} images a worker and step. *Sent*: by a",
        "worker, as much each way. Then for a worker's arithmetic and its bandwidth each way:",
        "seconds of arithmetic + seconds of communication, and the second's part of the step. The",
        "latency of the network, paid 2 (w - 1) times a sum, comes on top. Computed by",
        "`python tools/communication.py`; not to be edited.",
    ]
    return "\n".join(lines) + "\n"


def _machines(text: str) -> list[tuple[float, ...]]:
    machines = [tuple(map(float, machine.split(":"))) for machine in text.split(",")]
    if not all(len(machine) == 2 and min(machine) > 0 for machine in machines):
        raise ValueError
    return machines


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="number of workers")
    parser.add_argument("--batch_size", type=int, default=128, help="images a worker and step")
    parser.add_argument(
        "--machines",
        type=_machines,
        default="100:1,100:10,10000:10,10000:100",
        help="GFLOP/s of a worker : Gbit/s of its network each way, several with commas",
    )
    parser.add_argument("--out", type=Path, help="a file to write instead of printing")
    options = parser.parse_args(arguments)
    if min(options.workers, options.batch_size) < 1:
        parser.error("--workers and --batch_size must be at least 1")
    text = table(sizes(), options)
    if options.out:
        write_text(options.out, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
