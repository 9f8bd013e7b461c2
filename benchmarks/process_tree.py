"""What a command and all processes that it starts take: processor seconds and memory, watched from outside."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

EVERY = 0.25  # seconds between looks


class Spent(NamedTuple):
    """Processor seconds of all processes, and of the first alone, which started the others."""

    all: float
    first: float


@dataclass
class Watched:
    """Seconds by the clock, processor seconds of all processes and of the first alone, and the largest sum of their
    memory (MB; what processes share counts once). `looks` (clock, of all, of the first) as they were."""

    wall: float = 0.0
    cpu: float = 0.0
    first: float = 0.0
    peak_mb: float = 0.0
    looks: list[tuple[float, float, float]] = field(default_factory=list)

    def spent_at(self, clock: float) -> Spent:
        """Processor seconds until then."""
        return max((Spent(cpu, first) for at, cpu, first in self.looks if at <= clock), default=Spent(0.0, 0.0))


def watch(process: psutil.Popen) -> Watched:
    """Watch a process that was just started until it ends. A process that ended counts as it was last seen."""
    found, began = Watched(), time.time()
    seen: dict[int, float] = {}
    while process.poll() is None:
        memory = 0.0
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                own = times.user + times.system
                if each.pid == process.pid:
                    found.first = own
                seen[each.pid] = own
                memory += each.memory_full_info().pss
        found.cpu, found.peak_mb = sum(seen.values()), max(found.peak_mb, memory / 1e6)
        found.looks.append((time.time(), found.cpu, found.first))
        time.sleep(EVERY)
    found.wall = time.time() - began
    return found
