"""How a network learns to name treatments: batches, balance, accuracies. Two kinds of encoders are trained so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from morpho_assets.learn.cells import Cells
from morpho_assets.learn.labelled import (
    ENOUGH,
    LabelledConfig,
    as_drawn,
    as_started,
    described,
    embedding_by,
    fill_start,
    licence_of,
    network,
    targets_of,
    treatments_to_learn,
)
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights
from morpho_assets.learn.splits import Split

if TYPE_CHECKING:
    import torch

HEAD, BIAS = "head.weight", "head.bias"
__all__ = ["ClassifierConfig", "accuracies", "architecture", "forward", "learn", "licence", "network"]


class ClassifierConfig(LabelledConfig):
    """Settings of an encoder that learns to name treatments."""

    balance: Literal["sampling", "loss", "none"] = Field(
        "sampling", description="classes of one size: drawn so anew each epoch, by their weight in the loss, or not"
    )
    validate_on: Literal["wells", "plates", "cells"] = Field(
        "wells",
        description="what is held out whole to stop: wells, plates, or cells, of whose wells others are seen",
    )

    @property
    def validates_on(self) -> Literal["wells", "plates", "cells", "treatments"]:
        return self.validate_on if self.uses_labels else "wells"


def architecture(config: ClassifierConfig) -> str:
    return described(config, "one linear head over treatments")


licence = licence_of


def learn(
    config: ClassifierConfig, lesson: Lesson, seed: int, device: torch.device, progress: Progress | None = None
) -> Learned:
    """Weights of the epoch that names the validation windows best (by cross-entropy), trunk and head; and how well."""
    from morpho_assets.learn.networks.labelled import Classifier
    from morpho_assets.learn.tensors import arrays_of, drawn, placed
    from morpho_assets.learn.training import Examples, train_network

    trunk = config.trunk(lesson.crops.shape[1])
    if config.untrained:
        return Learned(as_drawn(config, lesson, seed, device))
    start = as_started(config, lesson, seed)
    if not config.epochs:
        return Learned(start)
    classes = treatments_to_learn(config, lesson, forward(config, start, lesson.crops.shape[1], device))
    targets = targets_of(lesson, classes)
    split = _of_classes(lesson.split, targets[:, 0])
    counts = np.bincount(targets[split.train, 0], minlength=len(classes))
    weights = counts.sum() / (len(classes) * counts) if config.balance == "loss" else None
    classifier = drawn(lambda: Classifier(len(classes), _tensor(weights), **trunk), seed)
    fill_start(config, classifier)
    classifier = placed(classifier, device)
    draw = partial(_balanced, classes=targets[:, 0], batch=config.batch) if config.balance == "sampling" else None
    examples = Examples(lesson.crops, targets, lesson.name)
    history = train_network(classifier, examples, split, config, seed, device, progress, lesson.keep, draw)
    trained = arrays_of(classifier)
    name = partial(_logits, config, trained, lesson.cells, device)
    scores = {"chance": 1 / len(classes)}
    if len(split.validation):
        scores |= accuracies(name(split.validation), targets[split.validation, 0])
    some = split.train[:: -(-len(split.train) // ENOUGH)]
    scores["train_top_1"] = accuracies(name(some), targets[some, 0])["top_1"]
    return Learned(trained, history, classes, scores)


def forward(config: ClassifierConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    return embedding_by(config, weights, channels, device)


def accuracies(logits: NDArray[np.floating[Any]], classes: NDArray[np.int64]) -> dict[str, float]:
    """Of (n, k) logits and (n,) classes: `top_1`, `top_5`, `balanced_accuracy` (the mean over classes that are there),
    `most_named`, the largest share of windows that are given one and the same name, and `majority`, what naming the
    commonest class always would reach. `n` is at least 1."""
    named = logits.argmax(axis=1)
    right = np.take_along_axis(logits, classes[:, None], axis=1)
    rank = (logits > right).sum(axis=1)
    by_class = [float((named[classes == each] == each).mean()) for each in np.unique(classes)]
    return {
        "top_1": float((named == classes).mean()),
        "top_5": float((rank < 5).mean()),
        "balanced_accuracy": float(np.mean(by_class)),
        "most_named": float(np.bincount(named).max() / len(named)),
        "majority": float(np.bincount(classes).max() / len(classes)),
    }


def _logits(
    config: ClassifierConfig, weights: Weights, cells: Cells, device: torch.device, rows: NDArray[np.int64]
) -> NDArray[np.float32]:  # fmt: skip
    embed = forward(config, weights, len(cells.channels), device)
    vectors = np.concatenate([embed(cells[part]) for part in np.array_split(rows, -(-len(rows) // 256))])
    return np.asarray(vectors @ weights[HEAD].T + weights[BIAS], np.float32)


def _of_classes(split: Split, classes: NDArray[np.int64]) -> Split:
    """The split's rows of treatments that are learned from."""
    return Split(split.train[classes[split.train] >= 0], split.validation[classes[split.validation] >= 0], split.unit)


def _balanced(
    rows: NDArray[np.int64], rng: np.random.Generator, classes: NDArray[np.int64], batch: int
) -> list[NDArray[np.int64]]:
    """As many rows as there are, of every class as many: those of a small class come again, of a large one some."""
    from morpho_assets.learn.training import in_batches

    names = np.unique(classes[rows])
    each = -(-len(rows) // len(names)) if len(names) else 0
    dealt = []
    for name in names:
        own = rows[classes[rows] == name]
        dealt += [rng.permutation(own) for _ in range(each // len(own))] + [rng.permutation(own)[: each % len(own)]]
    return in_batches(rng.permutation(np.concatenate(dealt)), batch) if dealt else []


def _tensor(weights: NDArray[np.float64] | None) -> Any:
    import torch

    return None if weights is None else torch.tensor(weights, dtype=torch.float32)
