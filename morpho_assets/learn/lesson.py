"""What passes between the seam and an encoder's module: scaled cells to learn from, and the weights learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morpho_assets.learn.splits import Split

Weights = dict[str, NDArray[np.generic]]
"""Arrays by name: what stands in the file of weights."""
Forward = Callable[[NDArray[np.float32], NDArray[np.bool_] | None], NDArray[np.float32]]
"""(n, C, S, S) crops scaled to [0, 1] and (n, S, S) own pixels, or None -> (n, d)."""
Progress = Callable[[int, float, float], None]
"""Called after every epoch with its number from 1, the training and the validation loss."""


@dataclass(frozen=True)
class Lesson:
    """Cells to learn from: `crops` (n, C, S, S) float32 scaled to [0, 1], `own` (n, S, S) bool or None, `conditions`
    (n,) int64 or None (what a conditional encoder is told), and which rows train and which validate."""

    crops: NDArray[np.float32]
    own: NDArray[np.bool_] | None
    conditions: NDArray[np.int64] | None
    split: Split


@dataclass(frozen=True)
class History:
    """Losses per epoch; `best_epoch` counts from 1 and is 0 for a network that was not trained."""

    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int = 0


@dataclass(frozen=True)
class Learned:
    """Weights, and how their training went."""

    weights: Weights
    history: History = History()
