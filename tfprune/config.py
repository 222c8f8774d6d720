"""One experiment: the flags of `flag_table`, checked together, and what follows from them.

Only the frozen `Config` travels further.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tfprune.combinations import (
    check_distillation,
    check_learning_rates,
    check_model,
    check_quantize,
    check_rewind,
    check_schedule,
    check_sensitivity,
    check_sharing,
    check_target,
)
from tfprune.errors import UsageError
from tfprune.flag_field import check_range, text_of
from tfprune.flag_table import FlagTable
from tfprune.pruning.granularity import parse_granularity
from tfprune.share_bits import parse_bits

BUDGETS = ("target_bytes", "target_macs")


@dataclasses.dataclass(frozen=True)
class Config(FlagTable):
    """One experiment, as its flags say it."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_range(field, getattr(self, field.name))
        check_learning_rates(self)
        self.sparsity_by_layer()
        for flag in ("resize", "retrain_resize"):
            self.sides(flag)
        check_target(self)
        check_sensitivity(self)
        check_schedule(self)
        check_rewind(self)
        check_distillation(self)
        check_model(self)
        check_sharing(self)
        check_quantize(self)

    @property
    def ramp_epochs(self) -> float:
        """Epochs of retraining during which gradual pruning removes weights."""
        return self.gradual_epochs or self.retrain_epochs / 2

    @property
    def user_model(self) -> Path | None:
        """The user's own `.keras` file, or None where `model` names a network."""
        return Path(self.model) if self.model.endswith(".keras") else None

    @property
    def network(self) -> str:
        """The network's name: of the registry, or the stem of the user's file."""
        return self.user_model.stem if self.user_model else self.model

    @property
    def finds_sparsity(self) -> bool:
        """Whether the group's sparsity is what another target than `sparsity` gives."""
        found = (self.stddev_quality, self.accuracy_budget, self.target_bytes, self.target_macs)
        return any(found) or parse_granularity(self.granularity).implied_sparsity is not None

    @property
    def teacher(self) -> str | None:
        """Which unpruned network the pruned one learns from: "control", "dense" or None."""
        if not self.distill:
            return None
        return "control" if self.has_control else "dense"

    @property
    def has_control(self) -> bool:
        """Whether the unpruned baseline is given the same extra epochs, of which there are some."""
        return bool(self.sparsity and self.control and self.retrain_epochs)

    @property
    def allocation_label(self) -> str:
        """What tables call the allocation: what is not usual about it, too."""
        unusual = [f"{name}={getattr(self, name)}" for name in BUDGETS if getattr(self, name)]
        unusual += [self.granularity] if self.granularity != "weight" else []
        return ", ".join([self.allocation, *unusual])

    @property
    def run_name(self) -> str:
        """`name`, or one made of network and target where it is empty."""
        if self.name:
            return self.name
        if not self.sparsity:
            return f"{self.network}_dense"
        budgets = [f"{getattr(self, name)}{name[7:]}" for name in BUDGETS if getattr(self, name)]
        target = budgets[0] if budgets else f"{100 * self.sparsity:g}"
        unit = "" if self.granularity == "weight" else f"_{self.granularity.replace(':', 'of')}"
        if ":" in self.granularity:
            target = ""
        return f"{self.network}_{self.group.replace(',', '+')}{target}{unit}"

    @property
    def run_path(self) -> Path:
        """The run folder."""
        return Path(self.run_dir or Path(self.runs_dir) / f"{self.run_name}-seed{self.seed}")

    def sparsity_by_layer(self) -> dict[str, float]:
        """`layer_sparsity` as a map from layer name to sparsity in [0, 1)."""
        result = {}
        for item in self.layer_sparsity:
            name, _, value = item.partition("=")
            try:
                result[name] = float(value)
                if not (name and 0 <= result[name] < 1):
                    raise ValueError
            except ValueError:
                raise UsageError(
                    "--layer_sparsity takes NAME=SPARSITY,... with sparsities in [0, 1); "
                    f"received {item!r}"
                ) from None
        return result

    def sides(self, flag: str) -> tuple[tuple[int, int], ...]:
        """What `resize` or `retrain_resize` says: (side in pixels, epochs), one after the other."""
        result = []
        for item in getattr(self, flag):
            side, _, epochs = item.partition(":")
            if not (side.isdecimal() and epochs.isdecimal() and int(side) and int(epochs)):
                raise UsageError(
                    f"--{flag} takes SIDE:EPOCHS,... with whole numbers above 0, as 16:10,24:5; "
                    f"received {item!r}"
                )
            result.append((int(side), int(epochs)))
        return tuple(result)

    def bits_by_layer(self) -> int | dict[str, int]:
        """`share_bits` as `share_weights` takes them; only where there are some."""
        return parse_bits(text_of(self.share_bits), "--share_bits")

    def shaping(self, *stages: str) -> dict[str, Any]:
        """The flags that shape the given stages and are not at their defaults, by name.

        A flag at its default leaves no mark, so that a run made before the flag existed
        still stands. Who changes a default has to rename the flag.
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["shapes"] in stages and getattr(self, field.name) != field.default
        }

    def to_flagfile(self) -> str:
        """All flags, one a line: a flagfile that reruns this run."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                lines.append(f"--{'' if value else 'no'}{field.name}")
            else:
                lines.append(f"--{field.name}={text_of(value)}")
        return "\n".join(lines) + "\n"


#: Flag -> its default.
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Config)}
