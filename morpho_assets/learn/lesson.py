"""What passes between the seam and an encoder's module: scaled cells to learn from, and the weights learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from morpho_assets.learn.cells import Cells
from morpho_assets.learn.kept import Keep
from morpho_assets.learn.splits import Split

Weights = dict[str, NDArray[np.generic]]
"""Arrays by name: what stands in the file of weights."""
Forward = Callable[[Cells], NDArray[np.float32]]
"""n windows whose crops are scaled to [0, 1] -> (n, d)."""
Progress = Callable[[int, float, float], None]
"""Called after every epoch with its number from 1, the training and the validation loss."""


@dataclass(frozen=True)
class Lesson:
    """Windows to learn from: `cells`, their crops scaled to [0, 1]; what an encoder may be told of each: `conditions`
    (n,) text or None, `wells` and `plates` (n,) text, `controls` (n,) bool, whether it lies in a negative control;
    which rows train and which validate; and where the training is kept."""

    cells: Cells
    conditions: NDArray[np.str_] | None
    wells: NDArray[np.str_]
    plates: NDArray[np.str_]
    controls: NDArray[np.bool_]
    split: Split
    keep: Keep | None = None

    @property
    def crops(self) -> NDArray[np.float32]:
        """(n, C, S, S)."""
        return self.cells.crops

    def name(self, row: int) -> str:
        """What a window is called in a message."""
        return f"window {row} of the lesson, well {self.wells[row] or 'unknown'}"


@dataclass(frozen=True)
class History:
    """Losses per epoch; `best_epoch` counts from 1 and is 0 for a network that was not trained. `trivial` is what the
    best answer that looks at no image loses on the validation rows."""

    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int = 0
    trivial: float | None = None


@dataclass(frozen=True)
class Learned:
    """Weights, and how their training went: `classes` that were told apart, `scores` of that by name (fractions)."""

    weights: Weights
    history: History = History()
    classes: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
