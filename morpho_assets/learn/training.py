"""The training loop: batches, loss, validation, the best weights kept. Reads from top to bottom."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morpho_assets.errors import InputError
from morpho_assets.learn.augment import augmented
from morpho_assets.learn.config import TrainingConfig
from morpho_assets.learn.kept import Keep
from morpho_assets.learn.lesson import History, Progress
from morpho_assets.learn.splits import Split

Draw = Callable[[NDArray[np.int64], np.random.Generator], list[NDArray[np.int64]]]
"""An epoch's batches of these rows."""


class Learner(Protocol):
    """What the loop asks of a torch module beside its parameters. `targets` (n, k) int64: what it is told of each."""

    def loss(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor: ...
    def trivial_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """The loss of the best answer that looks at no image."""
        ...


@dataclass(frozen=True)
class Examples:
    """What is learned from: `images` (n, C, S, S) float32, `targets` (n, k) int64, and what each row is called."""

    images: NDArray[np.float32]
    targets: NDArray[np.int64]
    names: Callable[[int], str]


@dataclass
class State:
    """How far a training is: what is kept of it after an epoch, and from which it goes on to the same bytes."""

    epoch: int
    train: list[float]
    validation: list[float]
    best_epoch: int
    trivial: float


def train_network(
    network: Any,
    examples: Examples,
    split: Split,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
    keep: Keep | None = None,
    draw: Draw | None = None,
) -> History:
    """Train a `Learner` in place, and leave the weights of the best validation epoch in it.

    Stops after `patience` epochs without a better validation loss, but never before `min_epochs`. With the same seed
    and number of threads a device gives the same weights again, also where a training that was killed goes on from
    what `keep` has. `draw` deals the rows of an epoch into batches; None shuffles them. Raises InputError for a loss
    that is no number, naming the window where it begins.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator(device).manual_seed(seed)
    optimizer = _optimizer(network, config)
    draw = draw or (lambda rows, rng: in_batches(rng.permutation(rows), config.batch))
    state, best = State(0, [], [], 0, 0.0), copy.deepcopy(network.state_dict())
    if keep is not None and (kept := keep.read()) is not None:
        state, best = _restore(kept, network, optimizer, rng, generator)

    def load(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(examples.images[rows]).to(device, memory_format=torch.channels_last)
        return images, torch.from_numpy(examples.targets[rows]).to(device)

    with _repeatable(device):
        for epoch in range(state.epoch + 1, config.epochs + 1):
            if _stops(state, config):
                break
            network.train()
            total, steps = 0.0, draw(split.train, rng)
            for step, rows in enumerate(steps):
                _set_rate(optimizer, config, epoch - 1 + step / len(steps))
                images, targets = load(rows)
                images = augmented(images, config.augment, generator)
                with _precision(device):
                    loss = network.loss(images, targets, generator)
                _require_number(loss, images, rows, examples)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
                optimizer.step()
                total += loss.item() * len(rows)

            network.eval()
            same_noise = torch.Generator(device).manual_seed(seed)  # so that epochs differ by weights only
            same_batches = draw(split.validation, np.random.default_rng(seed))
            found, trivial = 0.0, 0.0
            with torch.inference_mode(), _precision(device):
                for rows in same_batches:
                    images, targets = load(rows)
                    found += network.loss(images, targets, same_noise).item() * len(rows)
                    trivial += network.trivial_loss(images, targets).item() * len(rows)
            shown = sum(map(len, same_batches))
            state.train.append(total / max(1, sum(map(len, steps))))
            state.validation.append(found / max(1, shown))
            state.trivial, state.epoch = trivial / max(1, shown), epoch
            if not state.best_epoch or state.validation[-1] < state.validation[state.best_epoch - 1]:
                state.best_epoch, best = epoch, copy.deepcopy(network.state_dict())
            if progress is not None:
                progress(epoch, state.train[-1], state.validation[-1])
            if keep is not None:
                keep.write(_kept(state, best, network, optimizer, rng, generator))
    network.load_state_dict(best)
    return History(tuple(state.train), tuple(state.validation), state.best_epoch, state.trivial)


def in_batches(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Rows in their order, so many at a time; a last one alone joins those before it: a batch of one has no spread."""
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def _stops(state: State, config: TrainingConfig) -> bool:
    return state.epoch >= config.min_epochs and state.epoch - state.best_epoch >= config.patience


def _optimizer(network: Any, config: TrainingConfig) -> torch.optim.Optimizer:
    """Biases and normalisations are not decayed: they set levels, not slopes."""
    slopes = [each for each in network.parameters() if each.requires_grad and each.ndim > 1]
    levels = [each for each in network.parameters() if each.requires_grad and each.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": slopes, "weight_decay": config.weight_decay}, {"params": levels, "weight_decay": 0.0},
    ]  # fmt: skip
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainingConfig, epoch: float) -> None:
    """The rate after so many epochs (fractions count): it rises over `warmup`, and falls as a cosine if asked."""
    rate = config.learning_rate * min(1.0, (epoch + 1e-3) / config.warmup if config.warmup else 1.0)
    if config.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    for group in optimizer.param_groups:
        group["lr"] = rate


def _require_number(loss: Tensor, images: Tensor, rows: NDArray[np.int64], examples: Examples) -> None:
    if torch.isfinite(loss):
        return
    strange = ~torch.isfinite(images.flatten(1)).all(dim=1)
    if strange.any():
        row = int(rows[int(strange.nonzero()[0, 0])])
        do = "Look at this window's image: a pixel of it is no number after scaling."
        raise InputError("encoder", examples.names(row), "a pixel that is no number", "numbers", do)
    do = "Lower `learning_rate`, or raise `warmup`: no window of the batch is at fault, the weights ran away."
    where = f"the batch with {examples.names(int(rows[0]))}"
    raise InputError("encoder", where, f"a loss of {loss.item()}", "a number", do)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """A GPU takes the same algorithms every time."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def _precision(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU, where it is twice as fast; it has the range of float32, so that losses need no scaling."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _kept(
    state: State, best: dict[str, Tensor], network: Any, optimizer: torch.optim.Optimizer,
    rng: np.random.Generator, generator: torch.Generator,
) -> bytes:  # fmt: skip
    buffer = io.BytesIO()
    torch.save(
        {
            "state": json.dumps(asdict(state)), "best": best, "network": network.state_dict(),
            "optimizer": optimizer.state_dict(), "rng": json.dumps(rng.bit_generator.state),
            "generator": generator.get_state(),
        },
        buffer,
    )  # fmt: skip
    return buffer.getvalue()


def _restore(
    kept: bytes, network: Any, optimizer: torch.optim.Optimizer, rng: np.random.Generator, generator: torch.Generator
) -> tuple[State, dict[str, Tensor]]:
    device = next(network.parameters()).device
    found = torch.load(io.BytesIO(kept), weights_only=True, map_location=device)
    network.load_state_dict(found["network"])
    optimizer.load_state_dict(found["optimizer"])
    rng.bit_generator.state = json.loads(found["rng"])
    generator.set_state(found["generator"].cpu())
    return State(**json.loads(found["state"])), found["best"]
