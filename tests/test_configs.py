"""The flagfiles of `configs/`: each parses, says what it is, and matches the published table."""

from pathlib import Path

import pytest

from tfprune.flags import parse
from tfprune.reporting.published import published_layer_sparsities, published_results

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(path for path in CONFIGS.rglob("*.cfg") if not path.stem.endswith("_base"))
PUBLISHED = {(row.network, row.group, row.sparsity): row for row in published_results()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_each_config_parses_and_carries_a_header_with_its_command(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"python -m tfprune.main --flagfile=configs/{path.relative_to(CONFIGS)}" in text
    config = parse([f"--flagfile={path}"])
    prefix = "published_" if path.parent.name == "published" else ""
    assert config.name == prefix + path.stem


def test_names_are_unique():
    names = [parse([f"--flagfile={path}"]).name for path in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name == "published"], ids=lambda path: path.stem
)
def test_published_configs_have_the_published_hyperparameters(path):
    config = parse([f"--flagfile={path}"])
    group = config.group if config.sparsity else "dense"
    row = PUBLISHED[config.model, group, config.sparsity]
    assert config.dataset == row.dataset
    assert (config.optimizer, config.weight_decay, config.label_smoothing) == ("adam", 0, 0)
    assert not (config.augment_shift or config.augment_flip or config.augment_cutout)
    dense = group == "dense"
    batch = config.batch_size if dense else config.retrain_batch_size or config.batch_size
    assert batch == row.batch_size
    assert ("conv1" in config.exclude_layers) == ("conv1 kept dense" in (row.remark or ""))
    if row.epochs is None:
        return
    rate = config.retrain_learning_rate or config.learning_rate
    assert (config.learning_rate if dense else rate) == row.learning_rate
    assert (config.epochs if dense else config.retrain_epochs) == row.epochs
    every = config.lr_decay_epochs if dense else config.retrain_lr_decay_epochs
    decay = config.lr_decay_rate if dense else config.retrain_lr_decay_rate
    assert (f"{decay:g}/{every} epochs" if every else "none") == row.lr_decay
    if group == "fc":
        layers = published_layer_sparsities(config.model, group, config.sparsity)
        assert config.sparsity_by_layer() == layers
    else:
        assert config.allocation == "global"


def test_every_row_of_the_table_has_its_config():
    configs = [parse([f"--flagfile={path}"]) for path in FILES if path.parent.name == "published"]
    found = {(c.model, c.group if c.sparsity else "dense", c.sparsity) for c in configs}
    assert found == set(PUBLISHED)
