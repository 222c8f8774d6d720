"""Training: what masks, input and callbacks add to the bare step; PyTorch and TFMOT beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from benchmarking.floors import PROBE, rates
from benchmarking.measurement import Found, Options
from benchmarking.record import Line, Side, compared
from benchmarking.rounds import Contender, Timings, alternate, ratio
from tfprune.machine import has_bfloat16

_SPARSITY = 0.9
#: TFMOT's default: steps between two mask updates.
_TFMOT_FREQUENCY = 100


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        name: network.
        label: as the table calls it.
        shape: of its images.
        batch: images a step.
        steps: steps a round.
        epoch: steps of a whole epoch of its data set.
        augmentation: arguments of `Augmentation`.
    """

    name: str
    label: str
    shape: tuple[int, int, int]
    batch: int
    steps: int
    epoch: int
    augmentation: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """Arguments that all contenders take."""
        return {"name": self.name, "shape": self.shape, "batch": self.batch, "steps": self.steps}


_CIFAR = {"shift": 4, "flip": True, "cutout": 8, "fill": (125, 123, 114)}


def lenet5(options: Options) -> Found:
    """LeNet-5 on images of MNIST's shape and number, an epoch a round."""
    epoch = 20 if options.quick else 468
    job = Job("lenet5", "LeNet-5", (28, 28, 1), 128, epoch, epoch, {"shift": 2})
    torch = Contender("torch", "peers:torch_lenet5", {"images": 128 * epoch, "batch": 128})
    timings, found = _measure(job, options, [torch])
    if "torch" in timings:
        found.lines.append(
            compared(
                "LeNet-5 training, everything included",
                "speed",
                ("tfprune: shifts, masks, metrics, TensorBoard, checkpoint", timings["masks"]),
                ("PyTorch: shuffle, scale, step", timings["torch"]),
                per=epoch,
                at_least=1.0,
                **_floor(timings, masks=True),
            )
        )
    return found


def alexnet(options: Options) -> Found:
    """AlexNet on images of CIFAR-10's shape, batch 128."""
    steps = 1 if options.quick else 6
    job = Job("alexnet", "AlexNet", (32, 32, 3), 128, steps, 390, _CIFAR)
    more = [
        Contender("given_back", "steps:bare", job.options, keeps_memory=False),
        Contender("sgd", "steps:bare", {**job.options, "optimizer": "sgd"}),
        Contender("keras_adam", "steps:bare", {**job.options, "optimizer": "keras_adam"}),
    ]
    timings, found = _measure(job, options, more)
    floor = _floor(timings, masks=False, adam=False)
    for name, key, bar in (
        ("tfprune: Adam, masks, input", "masks", {"at_most": 1.10}),
        ("Keras's own Adam, no masks", "keras_adam", {}),
    ):
        found.lines.append(
            _steps_compared(
                "AlexNet step with Adam / with plain SGD and no masks",
                (name, timings[key]),
                ("plain SGD, one batch in memory", timings["sgd"]),
                job,
                **(bar | floor),
            )
        )
    found.lines.append(
        _steps_compared(
            "AlexNet step, freed memory kept / given back to the system",
            ("bare step, as tfprune.main keeps it", timings["bare"]),
            ("bare step, as TensorFlow by itself", timings["given_back"]),
            job,
        )
    )
    found.lines.append(_whole_epoch(job, timings))
    return found


def vgg16_bn(options: Options) -> Found:
    """VGG-16-BN on images of CIFAR-10's shape, batch 128."""
    batch, steps = (4, 1) if options.quick else (128, 2)
    job = Job("vgg16_bn", "VGG-16-BN", (32, 32, 3), batch, steps, 390, _CIFAR)
    timings, found = _measure(job, options, [])
    found.lines.append(_whole_epoch(job, timings))
    return found


def filters(options: Options) -> Found:
    """VGG-16-BN without half of its filters: what is left in training, and the masked whole."""
    batch, steps = (4, 1) if options.quick else (128, 2)
    job = Job("vgg16_bn", "VGG-16-BN", (32, 32, 3), batch, steps, 390, _CIFAR)
    pruned = {**job.options, "sparsity": 0.5, "granularity": "filter"}
    timings = alternate(
        [
            PROBE,
            Contender("small", "steps:trainer", {**pruned, "small": True}),
            Contender("masks", "steps:trainer", pruned),
        ],
        options.rounds,
        log=options.log,
    )
    line = _steps_compared(
        "VGG-16-BN step, half of its filters removed: what is left / masked",
        ("tfprune, the small twin", timings["small"]),
        ("tfprune, masks", timings["masks"]),
        job,
        at_most=0.4,  # a quarter of the products, half of the elements of everything else
        **_floor(timings, "small", masks=False),
    )
    return Found([line], rates=rates(timings))


def precision(options: Options) -> Found:
    """AlexNet and VGG-16-BN under masks, in bfloat16 and in float32."""
    found = Found([])
    if not has_bfloat16():
        return Found([], ["bfloat16"])
    for job, dense in _dense_jobs(options):
        masked = {**dense, "sparsity": _SPARSITY}
        timings = alternate(
            [
                Contender("bfloat16", "steps:trainer", {**masked, "precision": "bfloat16"}),
                Contender("float32", "steps:trainer", masked),
            ],
            options.rounds,
            log=options.log,
        )
        found.lines.append(
            _steps_compared(
                f"{job.label} step, bfloat16 / float32",
                ("tfprune, masks, --precision=bfloat16", timings["bfloat16"]),
                ("tfprune, masks", timings["float32"]),
                job,
            )
        )
    return found


def convolutions(options: Options) -> Found:
    """AlexNet and VGG-16-BN in float32, convolutions as a run has them, and in fewer ways."""
    return _convolutions(options, "float32")


def convolutions_bfloat16(options: Options) -> Found:
    """The same in bfloat16."""
    return _convolutions(options, "bfloat16") if has_bfloat16() else Found([], ["bfloat16"])


def _convolutions(options: Options, dtype: str) -> Found:
    found = Found([])
    for job, ours in _dense_jobs(options):
        ours = {**ours, "precision": dtype}
        timings = alternate(
            [
                Contender("chosen", "steps:trainer", ours),
                Contender("taps", "steps:trainer", {**ours, "ways": ["taps"]}),
                Contender("whole", "steps:trainer", {**ours, "ways": []}),
            ],
            options.rounds,
            log=options.log,
        )
        for name, theirs in (("whole", "Conv2D of TensorFlow"), ("taps", "small maps by taps")):
            found.lines.append(
                _steps_compared(
                    f"{job.label} step in {dtype}, convolutions by Winograd and taps / {theirs}",
                    ("tfprune", timings["chosen"]),
                    (f"tfprune, {theirs}", timings[name]),
                    job,
                )
            )
    return found


def _dense_jobs(options: Options) -> Iterator[tuple[Job, dict[str, Any]]]:
    """The two networks for CIFAR-10, and the options of a dense step of each."""
    batch, steps = (4, 1) if options.quick else (128, 3)
    for name, label in (("alexnet", "AlexNet"), ("vgg16_bn", "VGG-16-BN")):
        job = Job(name, label, (32, 32, 3), batch, steps, 390, _CIFAR)
        yield job, {**job.options, "augmentation": job.augmentation}


def _measure(job: Job, options: Options, more: list[Contender]) -> tuple[dict[str, Timings], Found]:
    """Our step with and without masks, the bare step, TFMOT's, and `more`."""
    ours = {**job.options, "augmentation": job.augmentation, "callbacks": True}
    model = {"name": job.name, "shape": job.shape}
    timings = alternate(
        [
            PROBE,
            Contender("masks", "steps:trainer", {**ours, "sparsity": _SPARSITY}),
            Contender("dense", "steps:trainer", ours),
            Contender("bare", "steps:bare", job.options),
            Contender("tfmot", "steps:bare", {**job.options, "tfmot": True}),
            Contender("update", "peers:tfmot_update", model, rounds=1, warm_up=False),
            *more,
        ],
        options.rounds,
        log=options.log,
    )
    lines = [
        _steps_compared(
            f"{job.label} step with masks / dense",
            ("tfprune, masks", timings["masks"]),
            ("tfprune, dense", timings["dense"]),
            job,
            at_most=1.03,
            **_floor(timings, masks=True),
        )
    ]
    if "tfmot" in timings:
        lines.append(_tfmot(job, timings))
    skipped = [name for name in ("tfmot", "torch") if _lacks(name, timings, more)]
    return timings, Found(lines, skipped, rates(timings))


def _lacks(name: str, timings: dict[str, Timings], more: list[Contender]) -> bool:
    asked = name == "tfmot" or any(contender.name == name for contender in more)
    return asked and name not in timings


def _steps(timings: Timings) -> Timings:
    """The steps of each round; those of our trainer without its epoch's end."""
    rounds = list(zip(timings.wall, timings.cpu, timings.notes, strict=True))
    return Timings(
        [notes.get("steps_seconds", wall) for wall, _, notes in rounds],
        [notes.get("steps_cpu_seconds", cpu) for _, cpu, notes in rounds],
    )


def _steps_compared(
    what: str, ours: tuple[str, Timings], other: tuple[str, Timings], job: Job, **rest: Any
) -> Line:
    """A line about steps alone, a time a step."""
    (name, mine), (other_name, theirs) = ours, other
    pair = (name, _steps(mine)), (other_name, _steps(theirs))
    return compared(what, "time", *pair, per=job.steps, **rest)


def _tfmot(job: Job, timings: dict[str, Timings]) -> Line:
    """TFMOT's step, its share of the mask update added."""
    update = timings["update"].seconds / _TFMOT_FREQUENCY
    seconds = [wall / job.steps + update for wall in timings["tfmot"].wall]
    dense = [wall / job.steps for wall in timings["bare"].wall]
    return Line(
        f"{job.label} step with masks / dense",
        "time",
        ratio(seconds, dense),
        len(seconds),
        Side("TFMOT, masks", Timings(wall=seconds).seconds),
        Side("the same step, dense", Timings(wall=dense).seconds),
        note=f"a mask update of {update * _TFMOT_FREQUENCY:.2g} s (1 round) every "
        f"{_TFMOT_FREQUENCY} steps",
    )


def _whole_epoch(job: Job, timings: dict[str, Timings]) -> Line:
    """A whole epoch of ours, its end included, beside as many bare steps."""
    masks, bare = timings["masks"], timings["bare"]
    steps = _steps(masks).wall
    # A round has few steps but a whole end: TensorBoard, checkpoint.
    ends = [wall - own for wall, own in zip(masks.wall, steps, strict=True)]
    epochs = [own / job.steps * job.epoch + end for own, end in zip(steps, ends, strict=True)]
    bare_epochs = [wall / job.steps * job.epoch for wall in bare.wall]
    end = Timings(wall=ends).seconds
    return Line(
        f"{job.label} training, everything included",
        "speed",
        ratio(bare_epochs, epochs),
        len(epochs),
        Side(
            "tfprune: input, masks, metrics, TensorBoard, checkpoint",
            Timings(wall=epochs).seconds / job.epoch,
        ),
        Side("bare compiled step, one batch in memory", bare.seconds / job.steps),
        at_least=0.97,
        note=f"per step of an epoch of {job.epoch}, at whose end {end:.2g} s go to files",
        **_floor(timings, masks=True),
    )


def _floor(
    timings: dict[str, Timings], trained: str = "masks", *, masks: bool, adam: bool = True
) -> dict[str, Any]:
    """Seconds of a step's operations and of its optimizer's traffic, and what was counted."""
    rate, ours = rates(timings), timings[trained]
    operations, weights = ours.note("operations"), ours.note("weights")
    words = 7 if adam else 3  # Adam reads w, m, v, g and writes w, m, v; SGD w, g and w
    traffic = weights * (4 * words + masks)
    seconds = operations / rate["operations_per_second"] + traffic / rate["bytes_per_second"]
    masks_too = ", a mask byte a weight" if masks else ""
    optimizer = "Adam" if adam else "SGD"
    return {
        "floor": seconds,
        "floor_of": f"{operations / 1e9:.3g} G operations, {words} words a weight for {optimizer}"
        + masks_too,
    }
