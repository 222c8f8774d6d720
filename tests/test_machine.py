import pytest

from tfprune import machine


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx2 avx512f avx512_bf16", True),
        ("fpu amx_tile amx_bf16", True),
        ("fpu avx2 avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_the_processors_name_and_bfloat16_are_read_from_what_linux_tells(
    tmp_path, monkeypatch, flags, expected
):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: Some CPU @ 2: 1 GHz\nflags\t\t: {flags}\n\n")
    monkeypatch.setattr(machine, "_CPUINFO", path)
    assert machine.has_bfloat16() is expected
    assert machine.machine()["processor"] == "Some CPU @ 2: 1 GHz"


def test_where_linux_does_not_tell_there_is_no_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert not machine.has_bfloat16()
    assert machine.machine()["processor"]
