"""The figures of tools/communication.py, by hand."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).parents[1] / "tools" / "communication.py"
SPEC = importlib.util.spec_from_file_location("communication", PATH)
communication = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(communication)


@pytest.mark.parametrize("workers, expected", [(1, 0), (2, 400), (4, 600), (8, 700)])
def test_a_ring_sends_each_byte_twice_but_for_the_own_part(workers, expected):
    assert communication.ring_bytes(100, workers) == expected


def test_a_table_row_states_bytes_seconds_and_their_part():
    options = SimpleNamespace(workers=2, batch_size=10, machines=[(6.0, 1.0)])
    # 6 x 50 million x 10 operations at 6 GFLOP/s: 0.5 s; 4 x 31.25 million bytes at 1 Gbit/s: 1 s.
    text = communication.table([("net", 31_250_000, 50_000_000)], options)
    row = "| net | 31,250,000 | 125.0 MB | 0.5 s + 1 s: 67% |"
    assert text.splitlines()[2] == row and "| 6 GFLOP/s, 1 Gbit/s |" in text


def test_figures_that_cannot_be_are_refused():
    for wrong in ("--machines=1", "--machines=0:1", "--machines=a:b", "--workers=0"):
        with pytest.raises(SystemExit) as error:
            communication.main([wrong])
        assert error.value.code == 2


def test_the_table_goes_to_a_file_in_a_new_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(communication, "NETWORKS", communication.NETWORKS[:1])
    path = tmp_path / "new" / "table.md"
    assert communication.main([f"--out={path}"]) == 0
    assert "| LeNet-5, MNIST | 44,426 |" in path.read_text() and capsys.readouterr().out == ""
    assert list(path.parent.iterdir()) == [path]


def test_the_table_in_results_has_the_parameters_of_lenet5():
    # 5x5x1x6 + 6 + 5x5x6x16 + 16 + 256x120 + 120 + 120x84 + 84 + 84x10 + 10
    table = (PATH.parents[1] / "results/performance/communication.md").read_text()
    assert "| LeNet-5, MNIST | 44,426 | 0.2 MB |" in table
