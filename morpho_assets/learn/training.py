"""The training loop: batches, loss, validation, the best weights kept. Reads from top to bottom."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from morpho_assets.learn.lesson import History, Progress

if TYPE_CHECKING:
    from morpho_assets.learn.splits import Split


class Schedule(Protocol):
    """What the loop asks of an encoder's settings."""

    @property
    def epochs(self) -> int: ...
    @property
    def min_epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...


def train_network(
    network: Any,
    images: NDArray[np.float32],
    conditions: NDArray[np.int64] | None,
    split: Split,
    schedule: Schedule,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> History:
    """Train in place and leave the weights of the best validation epoch in `network`, a torch module with a
    `loss(images, generator, conditions)`.

    `images` (n, C, S, S) are what it sees. Stops after `patience` epochs without a better validation loss, but never
    before `min_epochs`. With the same seed and number of threads a CPU gives the same weights again.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate)

    def load(rows: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(images[rows]).to(device, memory_format=torch.channels_last)

    def told(rows: NDArray[np.int64]) -> torch.Tensor | None:
        return None if conditions is None else torch.from_numpy(conditions[rows]).to(device)

    train_losses: list[float] = []
    validation_losses: list[float] = []
    best_epoch, best_weights = 0, network.state_dict()
    for epoch in range(1, schedule.epochs + 1):
        network.train()
        total = 0.0
        for rows in _batches(rng.permutation(split.train), schedule.batch):
            loss = network.loss(_turn(load(rows), rng), generator, told(rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        train_losses.append(total / len(split.train))

        network.eval()
        same_noise = torch.Generator(device).manual_seed(seed)  # so that epochs differ by weights only
        total = 0.0
        with torch.inference_mode():
            for rows in _batches(split.validation, schedule.batch):
                total += network.loss(load(rows), same_noise, told(rows)).item() * len(rows)
        validation_losses.append(total / len(split.validation))

        if progress is not None:
            progress(epoch, train_losses[-1], validation_losses[-1])
        if not best_epoch or validation_losses[-1] < validation_losses[best_epoch - 1]:
            best_epoch, best_weights = epoch, copy.deepcopy(network.state_dict())
        if epoch >= schedule.min_epochs and epoch - best_epoch >= schedule.patience:
            break
    network.load_state_dict(best_weights)
    return History(tuple(train_losses), tuple(validation_losses), best_epoch)


def _batches(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _turn(crops: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """One of the eight rotations and mirrorings of the square, the same for the batch: cells have no up."""
    turns, mirrored = rng.integers(4), rng.integers(2)
    turned = torch.rot90(crops, int(turns), dims=(2, 3))
    return torch.flip(turned, dims=(3,)) if mirrored else turned
