"""The workers of one training: one process each, on one machine or on several.

TensorFlow's `MultiWorkerMirroredStrategy` sums gradients over them. The same collective
operations carry what the chief has to say and what each worker has to add, so that no
second port and no shared file system is needed. All workers have to take part in each of
them, in the same order: the chief leads, see `lockstep`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.cluster import MEETING_SECONDS, Cluster, meet
from tfprune.errors import TfpruneError
from tfprune.training.distribution import StrategyReplicas, check_keras

#: What TensorFlow raises in all others when one worker is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WorkersError(TfpruneError):
    """An error that all workers have noticed, so that none need be told."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@contextlib.contextmanager
def _deadline(message: str) -> Iterator[None]:
    """Ends the process if the block takes too long: TensorFlow waits without end, deaf to signals.

    That happens when a worker dies in the moment between meeting the others and this.
    """

    def give_up() -> None:
        print(f"tfprune: error: {message}", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(MEETING_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Workers(StrategyReplicas):
    """The replicas of all workers, and the word between them."""

    def __init__(self, cluster: Cluster) -> None:
        """Waits for the others; has to come before TensorFlow computes anything.

        Raises:
            UsageError: Keras 3 is at work.
            TfpruneError: a port is taken, or a worker does not appear.
        """
        check_keras()
        meet(cluster)
        terminate = signal.getsignal(signal.SIGTERM)
        with _deadline(
            f"the workers met, but did not start together: {', '.join(cluster.addresses)}"
        ):
            super().__init__(tf.distribute.MultiWorkerMirroredStrategy())
        signal.signal(signal.SIGTERM, terminate)  # TensorFlow has put its own in its place
        self.cluster = cluster
        self.leads = cluster.number == 0
        self._joined = False
        self._over = False

    def join(self, card: dict[str, Any]) -> None:
        """Compares what each worker was started with.

        Args:
            card: what has to be the same, or {"error": text, "status": exit status}.

        Raises:
            WorkersError: the cards differ, or one is an error.
        """
        cards = [json.loads(text) for text in self.gather(json.dumps(card).encode())]
        self._joined = True
        for number, other in enumerate(cards):
            if "error" in other:
                name = self.cluster.name(number)
                raise self._known(f"{name} could not start: {other['error']}", other["status"])
        for number, other in enumerate(cards):
            differences = [
                f"{key} {other.get(key)} (the chief's: {cards[0].get(key)})"
                for key in sorted(cards[0] | other)
                if cards[0].get(key) != other.get(key)
            ]
            if differences:
                name = self.cluster.name(number)
                raise self._known(f"{name} was started otherwise: {', '.join(differences)}", 2)

    def tell(self, kind: str, meta: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        """Says something to all other workers, which `hear` it. For the chief."""
        forms = [[array.dtype.str, array.shape] for array in arrays]
        header = json.dumps({"kind": kind, "meta": meta, "arrays": forms}).encode()
        self._say(b"".join([header, b"\n", *(array.tobytes() for array in arrays)]), None)

    def hear(self, received: int | None) -> tuple[str, dict[str, Any], list[np.ndarray]]:
        """Waits for what the chief says. For the others.

        Args:
            received: a signal that this worker was sent; the chief learns of it.

        Returns:
            Kind, what belongs to it, and arrays, as they were told.
        """
        text = self._say(b"", received)
        end = text.index(b"\n")
        header = json.loads(text[:end])
        arrays, start = [], end + 1
        for form, shape in header["arrays"]:
            array = np.frombuffer(text, form, int(np.prod(shape)), start).reshape(shape)
            start += array.nbytes
            arrays.append(array)
        return header["kind"], header["meta"], arrays

    def gather(self, text: bytes) -> list[bytes]:
        """What each worker gives, for all of them to see, by number."""
        number, count = self.cluster.number, len(self.cluster.addresses)
        lengths = np.zeros(count, np.int64)
        lengths[number] = len(text)
        lengths = self._sum(lengths)
        words = np.zeros((count, -(-lengths.max() // 8)), np.int64)
        words[number] = np.frombuffer(text.ljust(8 * words.shape[1], b"\0"), np.int64)
        rows = self._sum(words)
        return [rows[n].tobytes()[: lengths[n]] for n in range(count)]

    def require_same(self, what: str, digest: str) -> None:
        """Compares a digest over all workers.

        Raises:
            WorkersError: one differs from the chief's.
        """
        digests = self.gather(digest.encode())
        others = [self.cluster.name(n) for n, each in enumerate(digests) if each != digests[0]]
        if others:
            raise self._known(f"{what} of {', '.join(others)} differ from the chief's")

    def leave(self, error: BaseException | None) -> None:
        """Ends what the workers do together; the chief tells the others, and why."""
        if self._over:
            return
        reason: dict[str, Any] = {"error": None, "status": 0}
        if error is not None:
            text = str(error) if isinstance(error, TfpruneError) else repr(error)
            reason = {"error": text, "status": getattr(error, "exit_status", 1)}
        with contextlib.suppress(WorkersError):
            if not self._joined:
                self.join(reason)
            elif self.leads:
                self.tell("end", reason)
        self._over = True

    def follow_end(self, reason: dict[str, Any]) -> None:
        """Ends a worker as the chief said.

        Raises:
            WorkersError: the chief ended by an error.
        """
        self._over = True
        if reason["error"] is not None:
            name = self.cluster.name(0)
            raise self._known(f"{name} stopped: {reason['error']}", reason["status"])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Around everything that all workers have to take part in.

        Raises:
            WorkersError: one of them is gone.
        """
        over, self._over = self._over, True  # what is broken off here leaves no word in common
        try:
            yield
        except _LOST as error:
            tasks = {int(task) for task in re.findall(r"/task:(\d+)", str(error))}
            gone = [self.cluster.name(n) for n in sorted(tasks - {self.cluster.number})]
            raise self._known(
                f"lost {' or '.join(gone) or 'another worker'}; start all workers again, and the "
                "run goes on from its last checkpoint"
            ) from None
        self._over = over

    def _known(self, message: str, exit_status: int = 1) -> WorkersError:
        self._over = True
        return WorkersError(message, exit_status)

    def _say(self, text: bytes, received: int | None) -> bytes:
        """The chief's text, at every worker; on the way everybody's signals."""
        length, *signals = self._sum(
            np.array([len(text), *(received == number for number in _SIGNALS)], np.int64)
        )
        for number, count in zip(_SIGNALS, signals, strict=True):
            self.signal = int(number) if count else self.signal
        words = np.frombuffer(text.ljust(-(-length // 8) * 8, b"\0"), np.int64)
        return self._sum(words).tobytes()[:length]

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of an int64 array over the workers."""
        if not values.size:  # TensorFlow's all-reduce crashes on an empty tensor
            return values
        local = self.count // len(self.cluster.addresses)

        def part(replica: Any) -> tf.Tensor:  # a worker's value counts once, not once a replica
            first = replica.replica_id_in_sync_group % local == 0
            return tf.constant(values if first else np.zeros_like(values))

        with self.together():
            parts = self.strategy.experimental_distribute_values_from_function(part)
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()
