"""Which file may import which: one way, down; the core knows neither TensorFlow nor flags."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfprune"

#: From the bottom up; a module imports from rooms on its own level or earlier in this list.
ROOMS = [
    {"", "atomic", "backend", "errors", "quiet"},
    {"cluster", "command", "flag_field", "flagfile", "keras_line", "logs", "machine"},
    {"coding", "memory", "share_bits"},
    {"data", "models", "pruning", "reporting"},
    {"combinations", "config", "flag_table", "run_dir"},
    {"flags"},
    {"export", "compression"},
    {"figures"},
    {"setting", "training", "rounds", "pruning_flags"},
    {"baseline", "recipe", "scan", "stages"},
    {"job", "report", "result_files", "verify", "compress", "decompress"},
    {"experiment"},
    {"main", "sensitivity", "sweep"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
#: What knows arrays only: neither TensorFlow nor Keras nor flags.
PURE = [
    f"pruning/{name}.py"
    for name in (
        *("allocation", "budget", "criteria", "curves", "density", "granularity", "masks"),
        *("rule", "schedule", "selection", "threshold"),
    )
]
PURE += [
    f"compression/{name}.py"
    for name in (
        *("byte_reader", "codebook", "coders", "container", "context", "huffman", "manifest"),
        *(
            "neighbours",
            "paper",
            "plain",
            "plain_coder",
            "range_coder",
            "relative_index",
            "significance",
            "stages",
            "tensor",
        ),
        *("value_groups", "value_signs"),
    )
]


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return [part for part in parts if part != "__init__"]


def imports_of(path):
    """Modules a file imports, also those inside functions, but not for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "tfprune":
                yield from (f"tfprune.{alias.name}" for alias in node.names)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(module_of(path)) or "tfprune")
def test_imports_point_downward_only(path):
    own = (module_of(path) or [""])[0]
    for name in imports_of(path):
        if name.split(".")[0] != "tfprune":
            continue
        other = [*name.split("."), ""][1]
        assert LEVEL[other] <= LEVEL[own], name


@pytest.mark.parametrize("name", PURE)
def test_the_core_is_numpy_only(name):
    roots = {module.split(".")[0] for module in imports_of(PACKAGE / name)}
    assert not roots & {"tensorflow", "keras", "tf_keras", "absl"}
    assert "tfprune.backend" not in set(imports_of(PACKAGE / name))


def test_tensorflow_enters_at_one_place():
    # The converter's freezing of variables has no public door but this module of TensorFlow.
    # So does the format of checkpoints.
    allowed = {"backend.py", "export/tflite.py", "export/stored.py"}
    for path in FILES:
        roots = {name.split(".")[0] for name in imports_of(path)}
        if roots & {"tensorflow", "keras", "tf_keras"}:
            assert str(path.relative_to(PACKAGE)) in allowed


@pytest.mark.parametrize(
    "module",
    [
        "tfprune",
        "tfprune.main",
        "tfprune.report",
        "tfprune.sweep",
        "tfprune.verify",
        "tfprune.compress",
        "tfprune.decompress",
        "tfprune.sensitivity",
        *("tfprune." + name.removesuffix(".py").replace("/", ".") for name in PURE),
    ],
)
def test_importing_does_not_import_tensorflow(module):
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_beside_tensorflow_registers_our_classes():
    code = (
        "import tensorflow as tf, tfprune;"
        "get = tf.keras.utils.get_registered_object;"
        "assert get('tfprune>PrunableLayer')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_public_names_are_there_and_unknown_ones_are_refused():
    import tfprune

    for name in tfprune.__all__:
        assert callable(getattr(tfprune, name)) and name in dir(tfprune)
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        tfprune.prun  # noqa: B018
