import subprocess
import sys

import pytest

# Page faults of taking, touching and freeing the same 64 MB a hundred times.
CODE = """
import ctypes, resource, sys
from tfprune.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64 << 20)))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    command = [sys.executable, "-c", CODE, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the GNU C library")
def test_a_block_that_was_freed_is_used_again():
    plain, kept = faults("plain"), faults("keep")
    assert plain > 50 * kept, (plain, kept)  # each block new, or only the first


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the GNU C library")
def test_what_is_kept_can_be_given_back_even_of_a_cycle():
    code = """
from pathlib import Path
from tfprune.memory import give_back_freed_memory, keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
keep_freed_memory()
before = resident()
cycle = [bytearray(b"1") * (256 << 20)]
cycle.append(cycle)
behind = bytearray(b"1") * (1 << 20)  # keeps the heap from ending before it
del cycle
kept = resident() - before
give_back_freed_memory()
print(kept, resident() - before)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kept, left = map(int, result.split())
    assert kept >= 256 and left < 16


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="others do not tell")
def test_the_peak_stays_when_the_memory_is_given_back():
    code = (
        "from tfprune.memory import peak_memory; before = peak_memory();"
        "bytearray(b'1') * (256 << 20); print(peak_memory() - before)"
    )
    command = [sys.executable, "-c", code]
    risen = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 255 << 20 < risen < 300 << 20
