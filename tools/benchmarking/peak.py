"""How much memory a piece of work takes at most, beyond what the process held before."""

from __future__ import annotations

import threading
from pathlib import Path


class Peak:
    """Resident memory above that at the start of the block, at its highest, in bytes.

    From the kernel's high-water mark where it can be reset (Linux), else sampled.
    """

    def __enter__(self) -> Peak:
        self._before = _status("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._sampler = None
        except OSError:
            self._done = threading.Event()
            self._highest = self._before
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        return self

    def __exit__(self, *exception: object) -> None:
        highest = _status("VmHWM")
        if self._sampler is not None:
            self._done.set()
            self._sampler.join()
            highest = self._highest
        self.extra_bytes = max(0, highest - self._before)

    def _sample(self) -> None:
        while not self._done.wait(0.002):
            self._highest = max(self._highest, _status("VmRSS"))


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
