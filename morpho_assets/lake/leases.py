"""Leases: who is at work on a partition, so that a second run ends at once instead of doing the same work.

A lease saves work and nothing else; what is safe is the ledger's exclusive commit. It is a file that its holder renews;
it ends when the holder gives it up, lets it run out, or is known to be dead. Each new holder takes the next number.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, ValidationError

from morpho_assets.errors import MorphoError
from morpho_assets.lake.digests import digest
from morpho_assets.lake.files import Files
from morpho_assets.lake.ledger import Partition, create, now, stem_of, who
from morpho_assets.retry import forgiven

SECONDS = 120.0
"""How long a lease lasts without being renewed; it is renewed three times as often."""
_FAR = 10 * SECONDS
"""No lease lasts so long: one that says so was written before the clock was set back, or by a clock that is wrong."""


class Busy(MorphoError):
    """Another run is at work on the partition."""


class Lease(BaseModel):
    """Who holds a partition's stage: the account, the process, since when, and until when (seconds since 1970)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    writer: str
    who: str
    machine: str
    process: int
    since: str
    until: float

    @property
    def ended(self) -> bool:
        """Whether it ran out, or its process is gone; of another machine's process only time can tell. A clock that
        was set forward ends it, too, until it is renewed: then two may work, and one commits."""
        if not 0 <= self.until - time.time() <= _FAR:
            return True
        return self.machine == machine() and not _alive(self.process)


@contextmanager
def held(files: Files, stage: str, partition: Partition, writer: str, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the lease of a stage of a partition while the block runs. Raises Busy, saying who has it and since when."""
    folder = f"ledger/leases/{partition.folder}"
    stem = stem_of(stage, partition)
    lease = Lease(writer=writer, who=who(), machine=machine(), process=os.getpid(), since=now(),
                  until=time.time() + seconds)  # fmt: skip
    path = _take(files, folder, stem, lease, f"{stage} of {partition}")
    stop = threading.Event()
    renewer = threading.Thread(target=_renew, args=(files, path, lease, seconds, stop), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        stop.set()
        renewer.join()
        with forgiven(files.remote):  # it runs out by itself
            files.remove(path)


def live(files: Files) -> dict[str, Lease]:
    """The leases that have not ended, by the path of their file."""
    found = {path: _read(files, path) for path in files.find("ledger/leases")}
    return {path: lease for path, lease in found.items() if lease is not None and not lease.ended}


def _take(files: Files, folder: str, stem: str, lease: Lease, what: str) -> str:
    for _ in range(8):  # each turn is lost only to somebody who took the next number at the same moment
        numbers = [_number(path) for path in files.find(folder) if path.rsplit("/", 1)[-1].startswith(f"{stem}.")]
        last = max(numbers, default=0)
        holder = _read(files, f"{folder}/{stem}.{last:08d}.json") if last else None
        if holder is not None and not holder.ended:
            raise Busy(
                f"{what} is being made by {holder.who} (process {holder.process}) since {holder.since}. "
                "Wait for that run to end; if it was killed on another machine, in two minutes."
            )
        path = f"{folder}/{stem}.{last + 1:08d}.json"
        body = lease.model_dump_json().encode()
        try:
            if create(files, path, body) == body:
                with forgiven(files.remote):
                    for number in numbers:
                        files.remove(f"{folder}/{stem}.{number:08d}.json")
                return path
        except FileNotFoundError:  # whoever took the number has given it up already
            continue
    raise Busy(f"{what}: others keep taking it. Try again later.")


def _renew(files: Files, path: str, lease: Lease, seconds: float, stop: threading.Event) -> None:
    """Until stopped; a store that does not answer is asked again at the next turn."""
    while not stop.wait(seconds / 3):
        renewed = lease.model_copy(update={"until": time.time() + seconds})
        try:
            files.write(path, renewed.model_dump_json().encode())
        except Exception:  # whatever it is, the commit decides; a run is not lost for a lease
            continue


def _read(files: Files, path: str) -> Lease | None:
    try:
        return Lease.model_validate_json(files.read(path))
    except (FileNotFoundError, ValidationError):
        return None


def _number(path: str) -> int:
    number = path.rsplit(".", 2)[-2]
    return int(number) if number.isdigit() else 0


def machine() -> str:
    """Names this machine without saying its name."""
    return digest([platform.node(), os.path.exists("/proc/self/ns/pid") and os.readlink("/proc/self/ns/pid")])


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
