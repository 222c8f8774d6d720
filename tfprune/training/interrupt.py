"""Ctrl-C and SIGTERM end a run between two steps, not in the middle of one."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from tfprune.errors import TfpruneError


class InterruptedRunError(TfpruneError):
    """The run was asked to stop and has written its checkpoint."""

    def __init__(self, signal_number: int, where: str) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(
            f"{name}: stopped at {where}, checkpoint written; the same command resumes"
        )
        self.exit_status = 128 + signal_number


class Interruptible:
    """Within the block a first SIGINT or SIGTERM is only noted; a second one acts as usual."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruptible:
        for number in self._SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]
