"""What comes after training: evaluation, shrink and export, the report."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarking.floors import PROBE, rates
from benchmarking.measurement import Found, Options
from benchmarking.record import Line, compared, side
from benchmarking.rounds import Contender, Timings, Turn, alternate

_SHAPE = (32, 32, 3)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *_SHAPE), np.uint8)


def evaluate(turn: Turn, images: int) -> None:
    """Our accuracy of VGG-16-BN on uint8 images; notes the operations."""
    from benchmarking.steps import network
    from tfprune.data import Split
    from tfprune.pruning.macs import macs
    from tfprune.training.evaluate import evaluator
    from tfprune.training.inputs import Normalization

    model = network("vgg16_bn", _SHAPE)
    split = Split(_images(images), np.zeros(images, np.int32))
    accuracy = evaluator(model, Normalization.of("standardize", split.images), split)
    operations = 2 * images * sum(dense for dense, _ in macs(model).values())
    while True:
        turn(operations=operations)
        accuracy()


def forward(turn: Turn, images: int, batch: int) -> None:
    """The bare compiled forward pass of VGG-16-BN, as often on one batch held in memory."""
    from benchmarking.steps import network
    from tfprune.backend import tf

    model = network("vgg16_bn", _SHAPE)
    inputs = tf.constant(_images(batch) / np.float32(255))
    run = tf.function(lambda: model(inputs, training=False))
    while True:
        turn()
        for _ in range(images // batch):
            run().numpy()


def evaluation(options: Options) -> Found:
    """The whole test set of CIFAR-10 in its size."""
    batch = 5 if options.quick else 500
    images = 20 * batch
    timings = alternate(
        [
            PROBE,
            Contender("ours", "results:evaluate", {"images": images}),
            Contender("bare", "results:forward", {"images": images, "batch": batch}),
        ],
        options.rounds,
        log=options.log,
        warm_up=0,
    )
    line = compared(
        f"evaluation of VGG-16-BN on {images:,} images",
        "speed",
        ("tfprune", timings["ours"]),
        (f"bare forward pass, one batch of {batch} in memory", timings["bare"]),
        at_least=0.95,
        floor=timings["ours"].note("operations") / rates(timings)["operations_per_second"],
        floor_of=f"{timings['ours'].note('operations') / 1e12:.3g} T operations",
    )
    return Found([line], rates=rates(timings))


def export(turn: Turn, images: int) -> None:
    """Every file of a pruned VGG-16-BN, proven on all images, as a run has it."""
    import tfprune
    from benchmarking.steps import network
    from tfprune.export.files import export_files
    from tfprune.export.form import forms_of
    from tfprune.export.tflite_files import Judge
    from tfprune.pruning.macs import macs
    from tfprune.pruning.pruner import get_masks
    from tfprune.run_dir import RunDir

    model = tfprune.prune(network("vgg16_bn", _SHAPE), 0.9, layers="conv")
    inputs = (_images(images) / 255).astype(np.float32)
    labels = np.zeros(images, np.int32)
    masks = get_masks(model)
    operations = 2 * images * sum(dense for dense, _ in macs(model).values())
    while True:
        with tempfile.TemporaryDirectory() as scratch:
            turn(operations=operations)
            folder = RunDir(Path(scratch))
            forms, _ = forms_of(model, masks)
            export_files(forms, Judge(inputs, labels, inputs[:200]), folder, ("vgg16_bn", {}))


def shrink(turn: Turn) -> None:
    """`shrink` of a VGG-16-BN half of whose filters are dead."""
    import tfprune
    from benchmarking.steps import network
    from tfprune.pruning.pruner import get_masks, set_masks

    model = tfprune.prune(network("vgg16_bn", _SHAPE), 0.0, layers="conv")
    masks = {key: mask.copy() for key, mask in get_masks(model).items() if mask.ndim == 4}
    for mask in masks.values():
        mask[..., ::2] = False
    set_masks(model, masks)
    while True:
        turn()
        tfprune.shrink(model)


def exporting(options: Options) -> Found:
    """Export and shrink of VGG-16-BN: the files, and the files with the whole test set."""
    few, all_ = (10, 20) if options.quick else (500, 10_000)
    timings = alternate(
        [
            PROBE,
            Contender("few", "results:export", {"images": few}, warm_up=False),
            Contender("shrink", "results:shrink"),
            Contender("all", "results:export", {"images": all_}, rounds=1, warm_up=False),
        ],
        min(3, options.rounds),  # each takes most of a minute
        log=options.log,
    )
    shrink_ = timings["shrink"]
    lines = []
    for key, images, what in (
        ("few", few, f"every file written, loaded, compared on {few} images"),
        ("all", all_, f"the same, all {all_:,} images through Keras and TFLite"),
    ):
        one = timings[key]
        total = Timings(
            [a + b for a, b in zip(one.wall, shrink_.wall, strict=False)],
            [a + b for a, b in zip(one.cpu, shrink_.cpu, strict=False)],
        )
        operations = 2 * one.note("operations")
        lines.append(
            Line(
                f"export and shrink of VGG-16-BN: {what}",
                "seconds",
                total.seconds,
                len(total.wall),
                side("tfprune", total),
                at_most=60,
                floor=operations / rates(timings)["operations_per_second"],
                floor_of=f"two passes over {images:,} images",
                note=f"export {one.seconds:.3g} s, shrink {shrink_.seconds:.3g} s",
            )
        )
    return Found(lines, rates=rates(timings))


def summaries(folder: Path, runs: int, epochs: int) -> None:
    """Writes made-up summaries of LeNet-5: seeds 0 to 4 of ever lower targets."""
    from tfprune.reporting.summary import empty_summary, write_summary

    layer = {
        "name": "conv1", "kind": "conv", "shape": [5, 5, 1, 6], "size": 150, "kept": 75,
        "sparsity": 0.5, "threshold": 0.03, "pruned": True,
    }  # fmt: skip
    history = [
        {"epoch": number, "loss": 0.1, "train_accuracy": 0.99, "test_accuracy": 0.98}
        | {"learning_rate": 1e-3, "seconds": 7.0}
        for number in range(1, epochs + 1)
    ]
    for number in range(runs):
        target = 0.5 + number // 5 / 100
        accuracies = dict.fromkeys(
            ("dense_accuracy", "control_accuracy", "first_test_accuracy", "final_accuracy"), 0.98
        )
        write_summary(
            folder / f"lenet5_conv{number // 5}-seed{number % 5}.json",
            empty_summary()
            | {"status": "complete", "name": f"lenet5_conv{number // 5}", "seed": number % 5}
            | {"network": "lenet5", "dataset": "mnist", "group": "conv"}
            | {"allocation": "global", "criterion": "magnitude", "schedule": "one_shot"}
            | {"target_sparsity": target, "group_sparsity": target, "model_sparsity": target}
            | {"epochs": epochs, "retrain_epochs": epochs, "layers": [layer] * 5}
            | {"history": history, "dense_history": history, "control_history": history}
            | accuracies,
        )


def report(turn: Turn, runs: int, epochs: int) -> None:
    """`python -m tfprune.report` over summaries, tables and plots."""
    import subprocess
    import sys

    with tempfile.TemporaryDirectory() as scratch:
        summaries(Path(scratch) / "runs", runs, epochs)
        command = [sys.executable, "-m", "tfprune.report", f"{scratch}/runs"]
        while True:
            turn()
            subprocess.run([*command, f"--out={scratch}/out"], check=True, capture_output=True)


def read_json(turn: Turn, runs: int, epochs: int) -> None:
    """The floor of the report: its summaries parsed, in a fresh interpreter."""
    import subprocess
    import sys

    code = "import json, sys\nfor path in sys.argv[1:]: json.load(open(path))"
    with tempfile.TemporaryDirectory() as scratch:
        summaries(Path(scratch), runs, epochs)
        paths = sorted(map(str, Path(scratch).glob("*.json")))
        assert json.loads(Path(paths[0]).read_text())["network"] == "lenet5"
        while True:
            turn()
            subprocess.run([sys.executable, "-c", code, *paths], check=True)


def reporting(options: Options) -> Found:
    """The report over 50 runs of 40 epochs each."""
    size: dict[str, Any] = {"runs": 10 if options.quick else 50, "epochs": 40}
    timings = alternate(
        [
            Contender("report", "results:report", size),
            Contender("read", "results:read_json", size),
        ],
        options.rounds,
        log=options.log,
    )
    line = Line(
        f"report over {size['runs']} runs, tables and plots",
        "seconds",
        timings["report"].seconds,
        options.rounds,
        side("tfprune", timings["report"]),
        at_most=5,
        floor=timings["read"].seconds,
        floor_of="the summaries parsed by json",
    )
    return Found([line])
