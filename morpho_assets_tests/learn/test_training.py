"""The loop: what is repeated, kept and taken up, what stops it, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from morpho_assets.errors import InputError
from morpho_assets.learn.config import AugmentConfig, TrainedConfig
from morpho_assets.learn.kept import OfLesson
from morpho_assets.learn.lesson import History
from morpho_assets.learn.splits import Split
from morpho_assets.learn.training import Examples, in_batches, train_network

CPU = torch.device("cpu")
AUGMENTED = AugmentConfig(gamma=0.3, shift=0.1)


class Linear(nn.Module):
    """The mean of an image as the sum of its pixels, each with a weight: something that can be learned."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2 * 6 * 6, 1)

    def loss(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(len(images), generator=generator)  # the generator is part of what is taken up
        return ((self.layer(images.flatten(1))[:, 0] - targets[:, 0] / 10 + noise / 100) ** 2).mean()

    def trivial_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        return (targets[:, 0] / 10).float().var(correction=0)


class Memory:
    """A place to keep a training; `dies` after so many epochs."""

    def __init__(self, dies: int | None = None) -> None:
        self.content: bytes | None = None
        self.left = dies

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def examples(n: int = 40) -> Examples:
    rng = np.random.default_rng(0)
    images = (rng.uniform(0, 1, (n, 2, 6, 6)) * rng.uniform(0, 2, (n, 1, 1, 1))).astype(np.float32)
    targets = np.round(10 * images.mean(axis=(1, 2, 3))).astype(np.int64)[:, None]
    return Examples(images, targets, lambda row: f"window {row}")


def split(n: int = 40) -> Split:
    return Split(np.arange(n - 10), np.arange(n - 10, n), "cell")


def config(**settings: Any) -> TrainedConfig:
    return TrainedConfig(**{"epochs": 6, "batch": 8, "augment": AUGMENTED, **settings})


def train(settings: TrainedConfig, keep: Any = None, progress: Any = None, of: Examples | None = None) -> tuple:
    network = Linear()
    history = train_network(network, of or examples(), split(), settings, 3, CPU, progress, keep)
    return history, {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("killed_after", [1, 4, 6])
def test_a_training_that_was_killed_ends_with_the_same_bytes(optimizer, killed_after):
    settings = config(optimizer=optimizer, schedule="cosine", warmup=1.0, weight_decay=0.1)
    whole = train(settings)
    keep = Memory(dies=killed_after)
    with pytest.raises(KeyboardInterrupt):
        train(settings, keep)
    keep.left = None
    epochs = []
    assert train(settings, keep, lambda epoch, *_: epochs.append(epoch)) == whole
    assert epochs == list(range(killed_after + 1, 7))  # what was done is not done again


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    assert train(config()) == train(config())
    other = Linear()
    train_network(other, examples(), split(), config(), 4, CPU)
    assert train(config())[1]["layer.weight"] != other.layer.weight.detach().numpy().tobytes()


def test_what_is_kept_is_of_one_lesson_only():
    keep, crops = Memory(), examples().images
    first = OfLesson(keep, config(), crops, split())
    first.write(b"state")
    assert first.read() == b"state"
    assert OfLesson(keep, config(epochs=7), crops, split()).read() is None
    assert OfLesson(keep, config(), crops + 1, split()).read() is None
    assert OfLesson(keep, config(), crops, split(39)).read() is None
    assert OfLesson(Memory(), config(), crops, split()).read() is None


def test_a_pixel_that_is_no_number_stops_it_and_names_the_window():
    of = examples()
    of.images[7, 1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"window 7: found a pixel that is no number"):
        train(config(), of=of)


def test_weights_that_run_away_stop_it_and_say_what_to_do():
    with pytest.raises(InputError, match=r"a loss of (inf|nan).*learning_rate"):
        train(config(optimizer="sgd", learning_rate=1e30, clip=1e30, epochs=20))


def test_it_learns_stops_early_and_keeps_the_best():
    history, _ = train(config(epochs=200, learning_rate=0.02, patience=4, augment=AugmentConfig(turns=False)))
    assert history.best_epoch == int(np.argmin(history.validation)) + 1
    assert len(history.train) < 200
    assert len(history.train) - history.best_epoch >= 4
    assert min(history.validation) < 0.5 * history.trivial
    assert history.trivial == pytest.approx(float((examples().targets[30:, 0] / 10).var()), rel=0.1)  # of batches of 8


def test_no_epochs_leave_the_weights_as_they_are():
    history, weights = train(config(epochs=0))
    assert history == History(trivial=0.0)
    assert weights["layer.weight"] == Linear().layer.weight.detach().numpy().tobytes()


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [("constant", 0.0, [1, 1, 1, 1]), ("constant", 2.0, [0, 0.5, 1, 1]), ("cosine", 0.0, [1, 0.854, 0.5, 0.146])],
)
def test_the_step_size_rises_and_falls_as_asked(schedule, warmup, expected, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def noted(self: Any, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    train(config(epochs=4, batch=32, schedule=schedule, warmup=warmup, learning_rate=1.0))
    np.testing.assert_allclose(rates, expected, atol=2e-3)


def test_levels_are_not_decayed():
    network = Linear()
    with torch.no_grad():
        network.layer.bias.fill_(1.0)
    network.loss = lambda images, targets, generator: (network.layer.weight * 0).sum() + (network.layer.bias * 0).sum()
    before = network.layer.weight.detach().clone()
    train_network(network, examples(), split(), config(epochs=1, weight_decay=0.5, learning_rate=0.1), 0, CPU)
    assert float(network.layer.bias.detach()) == 1.0
    assert (network.layer.weight.detach().abs() < before.abs()).all()


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2])])
def test_no_batch_is_of_one_row_unless_there_is_one(n: int, sizes: list[int]):
    assert [len(rows) for rows in in_batches(np.arange(n), 4)] == sizes


def test_batches_are_dealt_by_whoever_knows_better():
    asked: list[int] = []

    def halves(rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        asked.append(len(rows))
        return in_batches(rows[::2], 4)

    dealt: Callable[..., Any] = halves
    history = train_network(Linear(), examples(), split(), config(epochs=1), 0, CPU, draw=dealt)
    assert asked == [30, 10]
    assert len(history.train) == 1
