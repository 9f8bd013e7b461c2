"""The training loop: batches, loss, validation, the best weights kept. Reads from top to bottom."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from morpho_assets.learn.crops import Scaling, scale_crops

if TYPE_CHECKING:
    from morpho_assets.learn.encoders import EncoderConfig, Network
    from morpho_assets.learn.splits import Split

Progress = Callable[[int, float, float], None]
"""Called after every epoch with its number from 1, the training and the validation loss."""


@dataclass(frozen=True)
class History:
    """Losses per epoch; `best_epoch` counts from 1 and is 0 for a network that was not trained."""

    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int = 0


def train_network(
    network: Network,
    crops: NDArray[np.float32],
    split: Split,
    scaling: Scaling,
    config: EncoderConfig,
    device: torch.device,
    progress: Progress | None = None,
) -> History:
    """Train in place and leave the weights of the best validation epoch in `network`.

    `crops` (n, C, S, S) are raw intensities. Stops after `config.patience` epochs without a better validation loss, but
    never before `config.min_epochs`. With the same seed and number of threads a CPU gives the same weights again.
    """
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator(device).manual_seed(config.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def load(rows: NDArray[np.int64]) -> torch.Tensor:
        batch = torch.from_numpy(scale_crops(crops[rows], scaling))
        return batch.to(device, memory_format=torch.channels_last)

    train_losses: list[float] = []
    validation_losses: list[float] = []
    best_epoch, best_weights = 0, network.state_dict()
    for epoch in range(1, config.epochs + 1):
        network.train()
        total = 0.0
        for rows in _batches(rng.permutation(split.train), config.batch):
            loss = network.loss(_turn(load(rows), rng), generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        train_losses.append(total / len(split.train))

        network.eval()
        same_noise = torch.Generator(device).manual_seed(config.seed)  # so that epochs differ by weights only
        total = 0.0
        with torch.inference_mode():
            for rows in _batches(split.validation, config.batch):
                total += network.loss(load(rows), same_noise).item() * len(rows)
        validation_losses.append(total / len(split.validation))

        if progress is not None:
            progress(epoch, train_losses[-1], validation_losses[-1])
        if not best_epoch or validation_losses[-1] < validation_losses[best_epoch - 1]:
            best_epoch, best_weights = epoch, copy.deepcopy(network.state_dict())
        if epoch >= config.min_epochs and epoch - best_epoch >= config.patience:
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
