"""Where a training keeps how far it is, so that a killed one goes on: one file, that of the very same lesson."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from morpho_assets.learn.splits import Split

DIGEST = 64


class Keep(Protocol):
    """One file: what was written last is read, whole; None before anything was."""

    def read(self) -> bytes | None: ...
    def write(self, content: bytes) -> None: ...


class OfLesson:
    """A `Keep` that reads nothing of a training with other settings, other windows or another split."""

    def __init__(self, keep: Keep, config: BaseModel, crops: NDArray[np.float32], split: Split) -> None:
        digest = hashlib.sha256(config.model_dump_json().encode())
        for array in (crops, split.train, split.validation):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        self.keep, self.digest = keep, digest.hexdigest().encode()

    def read(self) -> bytes | None:
        found = self.keep.read()
        return found[DIGEST:] if found is not None and found[:DIGEST] == self.digest else None

    def write(self, content: bytes) -> None:
        self.keep.write(self.digest + content)
