"""The workers of a distributed run, as `TF_CONFIG` names them, and how they find each other.

    TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]},
                "task": {"type": "worker", "index": 0}}'

`cluster` is the same for all; `task` says which one a process is. The first, or the one
under "chief", leads. Knows neither TensorFlow nor flags, so that every error comes at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from typing import Any

from tfprune.errors import TfpruneError, UsageError

EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)
#: How long workers wait for each other at the start.
MEETING_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers and which one this is.

    Attributes:
        addresses: "host:port" of each, the chief first.
        number: position of this process among them.
    """

    addresses: tuple[str, ...]
    number: int

    def name(self, number: int) -> str:
        """How messages call a worker: "worker 1 (host2:2222)", "worker 0, the chief (...)"."""
        return f"worker {number}{'' if number else ', the chief'} ({self.addresses[number]})"


def cluster_of(text: str | None) -> Cluster:
    """Reads the value of `TF_CONFIG`.

    Args:
        text: JSON; None where the variable is not set.

    Raises:
        UsageError: there is none, or it names no cluster, or not this process's place in it.
    """
    if not text:
        raise UsageError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, the same for "
            f"each worker but for the index: {EXAMPLE}; it is not set"
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _wrong(f"must be JSON ({error})", text) from None
    jobs = _member(config, "cluster", dict, text)
    task = _member(config, "task", dict, text)
    for job, addresses in jobs.items():
        if job not in ("chief", "worker"):
            raise _wrong('may name workers and a chief only: "cluster" has ' + repr(job), text)
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise _wrong(f'needs a list of "host:port" under {job!r}', text)
    if len(jobs.get("chief", ())) > 1:
        raise _wrong("may name one chief only", text)
    addresses = [*jobs.get("chief", ()), *jobs.get("worker", ())]
    if len(set(addresses)) < len(addresses):
        raise _wrong("names an address twice", text)
    job, index = _member(task, "type", str, text), _member(task, "index", int, text)
    if job not in jobs or not 0 <= index < len(jobs[job]):
        counts = ", ".join(
            f"{len(jobs[name])} {name}{'s' * (len(jobs[name]) != 1)}" for name in jobs
        )
        raise _wrong(f"says this is {job} {index}, but its cluster has {counts or 'nobody'}", text)
    before = len(jobs.get("chief", ())) if job == "worker" else 0
    return Cluster(tuple(addresses), before + index)


def _member(config: Any, key: str, kind: type, text: str) -> Any:
    value = config.get(key) if isinstance(config, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {dict: "an object", str: "a text", int: "a whole number"}
        raise _wrong(f"needs {names[kind]} {key!r}", text)
    return value


def _is_address(address: Any) -> bool:
    if not isinstance(address, str):
        return False
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _wrong(what: str, text: str) -> UsageError:
    return UsageError(f"TF_CONFIG {what}; such as {EXAMPLE}. Received: {text}")


def meet(cluster: Cluster, seconds: float = MEETING_SECONDS) -> None:
    """Waits until every worker's port answers, this one's own included.

    TensorFlow would wait for an absent worker without a word. The port is free again when
    this returns: TensorFlow then listens on it.

    Args:
        cluster: who takes part.
        seconds: how long to wait.

    Raises:
        TfpruneError: the own port is taken, or a worker does not appear in time.
    """
    host, port = _split(cluster.addresses[cluster.number])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        own = socket.create_server(("", port), family=family, backlog=len(cluster.addresses))
    except OSError as error:
        raise TfpruneError(
            f"{cluster.name(cluster.number)} cannot listen on port {port}: {error.strerror}; "
            "another process may be there, perhaps of an earlier run"
        ) from None
    end = time.monotonic() + seconds
    with own:
        missing = [n for n in range(len(cluster.addresses)) if n != cluster.number]
        while missing := [n for n in missing if not _answers(cluster.addresses[n])]:
            if time.monotonic() > end:
                absent = ", ".join(map(cluster.name, missing))
                raise TfpruneError(
                    f"no answer within {seconds:g} seconds from {absent}; start all workers, "
                    "each with its own index in TF_CONFIG"
                )
            time.sleep(0.2)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(_split(address), timeout=2).close()
        return True
    return False
