"""Every flag of `python -m tfprune.main`, once: name, type, default, help, range.

The fields of this table define the flags (see `flags`), and what a flag says in `--help` is
what stands here.
"""

from __future__ import annotations

import dataclasses

from tfprune.coding import CODER_NAMES
from tfprune.flag_field import flag
from tfprune.models import NETWORK_NAMES
from tfprune.pruning.allocation import ALLOCATIONS
from tfprune.pruning.criteria import CRITERIA
from tfprune.pruning.curves import LADDER
from tfprune.share_bits import INITIALISATIONS

OPTIMIZERS = ("adam", "sgd")
NORMALIZATIONS = ("unit", "standardize", "none")
SCHEDULES = ("one_shot", "iterative", "gradual")
REWINDS = ("none", "rate", "weights")
PRECISIONS = ("float32", "bfloat16")
STRATEGIES = ("none", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class FlagTable:
    """The flags, as fields; `Config` is made of them."""

    # -- the run ---------------------------------------------------------------------------
    name: str = flag("", "Name of the run; a part of the run folder's name.", "run")
    run_dir: str = flag("", "Run folder; empty: <runs_dir>/<name>-seed<seed>.", "run")
    runs_dir: str = flag("runs", "Folder of run folders, shared baselines, data cache.", "run")
    seed: int = flag(0, "Seed of weights, shuffling, augmentation, dropout.", "data", low=0)
    deterministic: bool = flag(
        False, "Equal to the bit when rerun with the same number of threads; slower.", "data"
    )
    threads: int = flag(0, "Threads TensorFlow computes with; 0: one a core.", "run", low=0)
    strategy: str = flag(
        "none",
        "What a batch is shared out to: none (one device), mirrored (all devices of this machine), "
        "multi_worker (the processes that TF_CONFIG names, each started with the same flags).",
        "data",
        choices=STRATEGIES,
    )
    precision: str = flag(
        "float32",
        "What training multiplies in: float32, or bfloat16, faster on processors that have "
        "it (AMX, AVX-512 BF16; others stay at float32). Weights, evaluation, export are float32.",
        "data",
        choices=PRECISIONS,
    )
    dry_run: bool = flag(False, "Print what would be pruned, train nothing, write nothing.", "run")
    progress: bool = flag(True, "Show a progress bar for each epoch.", "run")
    tensorboard: bool = flag(True, "Write TensorBoard summaries each epoch.", "run")

    # -- data ------------------------------------------------------------------------------
    dataset: str = flag(
        "digits", "digits (bundled), mnist, cifar10, or any TFDS image classification set.", "data"
    )
    data_dir: str = flag(
        "", "Folder of prepared TFDS data sets; empty: $TFDS_DATA_DIR or TFDS's own.", "run"
    )
    image_size: int = flag(0, "Resize images to this many pixels a side; 0: as they are.", "data")
    validation_fraction: float = flag(
        0.0,
        "Fraction of the training set held out; above 0 the test set is not looked at.",
        "data",
        low=0,
        below=1,
    )
    normalization: str = flag(
        "unit",
        "Pixels to model inputs: unit (x/255), standardize (zero mean and unit variance a "
        "channel over the training set), none (0..255).",
        "data",
        choices=NORMALIZATIONS,
    )
    augment_shift: int = flag(
        0, "Random shifts of at most this many pixels, edges reflected.", "data", low=0
    )
    augment_flip: bool = flag(False, "Random horizontal flips.", "data")
    augment_cutout: int = flag(
        0, "Side in pixels of a random square set to the mean; 0: none.", "data", low=0
    )

    # -- model -----------------------------------------------------------------------------
    model: str = flag(
        "lenet5", f"One of {', '.join(NETWORK_NAMES)}, or FILE.keras: your own.", "data"
    )
    dropout: float = flag(
        -1.0, "Dropout rate of the fc layers; -1: the network's own.", "dense", below=1
    )
    conv1_stride: int = flag(0, "Stride of AlexNet's conv1; 0: the network's own.", "data", low=0)

    # -- dense training --------------------------------------------------------------------
    epochs: int = flag(20, "Epochs of dense training.", "dense", low=0)
    batch_size: int = flag(128, "Images a training step.", "dense", low=1)
    optimizer: str = flag(
        "adam", "adam, or sgd (Nesterov, momentum 0.9).", "data", choices=OPTIMIZERS
    )
    learning_rate: float = flag(1e-3, "First learning rate.", "dense", low=0)
    lr_decay_rate: float = flag(
        0.1, "Factor of the learning rate at each boundary.", "dense", low=0, high=1
    )
    lr_decay_epochs: int = flag(0, "A boundary every this many epochs; 0: none.", "dense", low=0)
    lr_boundaries: tuple[int, ...] = flag(
        (), "Boundaries in epochs, ascending; instead of --lr_decay_epochs.", "dense", low=1
    )
    lr_warmup_epochs: float = flag(
        0.0, "Epochs of linear warm-up from zero, step by step.", "dense", low=0
    )
    weight_decay: float = flag(
        0.0, "Decoupled decay of kernels: w -= rate * weight_decay * w a step.", "data", low=0
    )
    label_smoothing: float = flag(0.0, "Label smoothing.", "data", low=0, below=1)

    resize: tuple[str, ...] = flag(
        (),
        "Train on smaller images first, SIDE:EPOCHS (16:10,24:5: ten epochs at 16 pixels, five at "
        "24, the others at full size); empty: at full size.",
        "dense",
    )

    # -- pruning ---------------------------------------------------------------------------
    group: str = flag(
        "fc",
        "Layers under one target: conv, fc, all, or names (a,b); wildcards work. The output "
        "layer stays dense unless named.",
        "prune",
    )
    exclude_layers: tuple[str, ...] = flag((), "Layers of the group to keep dense.", "prune")
    sparsity: float = flag(
        0.9,
        "Fraction of the group's weights (filters, blocks) to remove; 0: train only. Where "
        "--layer_sparsity, --stddev_quality, --target_bytes, --target_macs or N:M decide, without "
        "effect.",
        "prune",
        low=0,
        below=1,
    )
    allocation: str = flag(
        "global",
        "How the target becomes layer sparsities: global (one threshold for the group), uniform "
        "(the same in each layer), erk (small layers denser), lamp (one threshold on LAMP scores), "
        "explicit (--layer_sparsity), stddev (threshold = quality x standard deviation of the "
        "layer), sensitivity (what costs the least accuracy by a scan of each layer alone).",
        "prune",
        choices=(*ALLOCATIONS, "sensitivity"),
    )
    layer_sparsity: tuple[str, ...] = flag(
        (),
        "Sparsity by layer, as conv*=0.5,fc1=0.4724; with --allocation=explicit. A name wins over "
        "patterns, a longer pattern over shorter ones. With --schedule=gradual each layer follows "
        "the same ramp to its own.",
        "prune",
    )
    stddev_quality: float = flag(
        0.0, "Quality of --allocation=stddev; 0: the one that reaches --sparsity.", "prune", low=0
    )
    target_bytes: int = flag(
        0,
        "Instead of --sparsity: the largest model of at most so many bytes, counted without "
        "coding: float32 values of all variables, and for a pruned layer of its kept weights and "
        "their positions (as prune documents); 0: --sparsity decides.",
        "prune",
        low=0,
    )
    target_macs: int = flag(
        0,
        "Instead of --sparsity: the largest model of at most so many multiply-accumulates an "
        "image; 0: --sparsity decides.",
        "prune",
        low=0,
    )
    accuracy_budget: float = flag(
        0.0,
        "With --allocation=sensitivity: remove what costs at most this much accuracy before "
        "retraining, as measured, instead of --sparsity; 0: --sparsity decides.",
        "prune",
        low=0,
        high=1,
    )
    sensitivity_sparsities: tuple[float, ...] = flag(
        LADDER, "Sparsities at which the sensitivity scan measures each layer.", "prune", below=1
    )
    criterion: str = flag(
        "magnitude",
        "What scores a weight: magnitude, rate (magnitude for the bits of its place, with "
        "--schedule=gradual or iterative), random (a control), snip (gradient x weight on "
        "--criterion_images), synflow (flow through the network, without data).",
        "prune",
        choices=tuple(CRITERIA),
    )
    criterion_rounds: int = flag(
        0,
        "How often what is left is scored anew on the way to the target; 0: as the criterion has "
        "it, 100 for synflow, else 1.",
        "prune",
        low=0,
    )
    criterion_images: int = flag(
        128, "Training images, drawn by --seed, for a criterion of the loss.", "prune", low=1
    )
    granularity: str = flag(
        "weight",
        "What is removed as a whole, and counted: weight, filter (channels, neurons), blockRxC (R "
        "inputs x C outputs), N:M (as 2:4: N of every M inputs stay, in each layer).",
        "prune",
    )
    schedule: str = flag(
        "one_shot",
        "When weights are removed: one_shot, iterative (--rounds of pruning and retraining), "
        "gradual (more and more of them while retraining).",
        "prune",
        choices=SCHEDULES,
    )
    gradual_epochs: float = flag(
        0.0,
        "Epochs of retraining after which --schedule=gradual has removed all; "
        "0: half of --retrain_epochs.",
        "prune",
        low=0,
    )
    gradual_interval: int = flag(
        100, "Steps from one removal to the next with --schedule=gradual.", "prune", low=1
    )

    # -- retraining ------------------------------------------------------------------------
    retrain_epochs: int = flag(
        20, "Epochs of retraining (iterative: in the last round).", "retrain", low=0
    )
    rounds: int = flag(
        5, "Rounds of --schedule=iterative; density falls evenly, geometrically.", "retrain", low=1
    )
    round_epochs: int = flag(
        0,
        "Epochs of each round of --schedule=iterative but the last; 0: --retrain_epochs.",
        "retrain",
        low=0,
    )
    rewind: str = flag(
        "none",
        "What retraining goes back to: none, rate (the learning rates of dense training, from "
        "--rewind_epoch on), weights (those, and the weights of that epoch under the masks found: "
        "the lottery ticket).",
        "retrain",
        choices=REWINDS,
    )
    rewind_epoch: int = flag(
        0, "Epochs of dense training that --rewind keeps; 0: from its beginning.", "retrain", low=0
    )
    retrain_batch_size: int = flag(0, "Images a step; 0: --batch_size.", "retrain", low=0)
    retrain_learning_rate: float = flag(
        0.0, "First learning rate; 0: --learning_rate.", "retrain", low=0
    )
    retrain_lr_decay_rate: float = flag(
        0.1, "Factor of the learning rate at each boundary.", "retrain", low=0, high=1
    )
    retrain_lr_decay_epochs: int = flag(
        0, "A boundary every this many epochs; 0: none.", "retrain", low=0
    )
    retrain_lr_boundaries: tuple[int, ...] = flag(
        (), "Boundaries in epochs, ascending; instead of the above.", "retrain", low=1
    )
    retrain_lr_warmup_epochs: float = flag(0.0, "Epochs of linear warm-up.", "retrain", low=0)
    retrain_resize: tuple[str, ...] = flag(
        (), "Smaller images in the first epochs of each round, as --resize has it.", "retrain"
    )
    retrain_dropout: float = flag(
        -1.0, "Dropout rate when retraining; -1: as in dense training.", "retrain", below=1
    )
    distill: float = flag(
        0.0,
        "Weight of what the unpruned network says (the control; without one the dense network) in "
        "the loss of the pruned one, of its centroids too: from 0, the labels alone, to 1, it "
        "alone. Costs about a third of a step. The control has the labels alone.",
        "distill",
        low=0,
        high=1,
    )
    distill_temperature: float = flag(
        2.0, "Temperature at which --distill compares them.", "distill", low=1
    )
    control: bool = flag(
        True, "Train the control too: the unpruned baseline, same extra epochs.", "run"
    )

    # -- weight sharing ----------------------------------------------------------------------
    share_bits: tuple[str, ...] = flag(
        (),
        "Share weights after retraining: bits of a codebook index, 1 to 12, for all layers (6), or "
        "by kind or layer (conv=8,fc=5); empty: no sharing.",
        "share",
    )
    share_initialisation: str = flag(
        "linear", "How k-means starts.", "share", choices=INITIALISATIONS
    )
    share_rate: float = flag(
        0.0,
        "Price of a coded bit when weights are given to centroids, in mean squared weights: 0 "
        "(none) takes the nearest, 0.01 or so the cheaper of near ones.",
        "share",
        low=0,
    )
    share_bytes: int = flag(
        0,
        "Instead of --share_rate: the lowest price at which model.tfprune has at most so many "
        "bytes (less 0.3%, which training centroids may add); 0: --share_rate decides.",
        "share",
        low=0,
    )
    share_epochs: int = flag(
        5, "Epochs that centroids, biases and batch norms are trained for.", "share", low=0
    )
    share_learning_rate: float = flag(1e-4, "First learning rate of centroids.", "share", low=0)
    share_lr_boundaries: tuple[int, ...] = flag(
        (), "Epochs at which it falls by --retrain_lr_decay_rate.", "share", low=1
    )

    # -- export ----------------------------------------------------------------------------
    export: bool = flag(True, "Write and prove .keras and .tflite files of the result.", "run")
    quantize: tuple[str, ...] = flag(
        (),
        "TFLite files beside the float32 ones: float16, dynamic (int8 weights), int8 (calibrated "
        "on training images), qat (int8, trained for it), sparse (TFLite's sparse encoding, "
        "smaller and not faster), sparse+float16.",
        "run",
    )
    qat_epochs: int = flag(2, "Epochs of quantization-aware training.", "qat", low=1)
    qat_learning_rate: float = flag(1e-4, "Its learning rate.", "qat", low=0)
    code: bool = flag(False, "Write and prove model.tfprune, the result in one small file.", "run")
    coder: str = flag(
        "context",
        "What model.tfprune is coded with: context, or huffman as in Deep Compression.",
        "code",
        choices=CODER_NAMES,
    )
    other_bits: int = flag(
        32,
        "Bits of what model.tfprune does not code (biases, batch norms): 32 (exact), 16 or 8.",
        "code",
        low=8,
        high=32,
    )
