"""Cells of one treatment in different wells are to look alike: supervised contrastive learning.

A pair that is to be alike never comes from one well, and where the treatment lies on several plates, not from one
plate: pairs of a well teach its crowd and its corner of the plate, not the drug.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.learn.labelled import (
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

CLASS, WELL, PLATE = range(3)
__all__ = ["ContrastiveConfig", "architecture", "forward", "learn", "licence", "network", "paired",
           "with_partner"]  # fmt: skip


class ContrastiveConfig(LabelledConfig):
    """Cells of one treatment in other wells, on another plate if there is one, are to be alike."""

    kind: Literal["contrastive"] = Field("contrastive", description="the encoder")
    temperature: float = Field(0.2, gt=0, description="how sharply the likest pairs count")
    projection: int = Field(64, ge=2, description="numbers of the projection that is compared while it learns")
    batch: int = Field(128, ge=4, description="windows per training step, half of them each the partner of another")
    validate_on: Literal["treatments", "wells", "plates"] = Field(
        "treatments", description="what is held out whole to stop: treatments, so that it stops where unknown ones do"
    )

    @property
    def validates_on(self) -> Literal["wells", "plates", "cells", "treatments"]:
        return self.validate_on if self.uses_labels else "wells"


def architecture(config: ContrastiveConfig) -> str:
    return described(config, "contrastive over wells and plates")


licence = licence_of


def learn(
    config: ContrastiveConfig, lesson: Lesson, seed: int, device: torch.device, progress: Progress | None = None
) -> Learned:
    """Weights of the epoch whose validation windows are most like their partners. InputError for fewer than two
    treatments with two wells."""
    from morpho_assets.learn.networks.labelled import Contrast
    from morpho_assets.learn.tensors import arrays_of, drawn, placed
    from morpho_assets.learn.training import Examples, train_network

    if config.untrained:
        return Learned(as_drawn(config, lesson, seed, device))
    start = as_started(config, lesson, seed)
    if not config.epochs:
        return Learned(start)
    classes = treatments_to_learn(config, lesson, forward(config, start, lesson.crops.shape[1], device))
    # Treatments that are held out are told only so that one can stop by them.
    others = np.unique(lesson.conditions[lesson.split.validation]) if lesson.conditions is not None else []
    targets = targets_of(lesson, tuple(sorted({*classes, *(str(name) for name in others if name)})))
    train, validation = (with_partner(rows, targets) for rows in (lesson.split.train, lesson.split.validation))
    split = Split(train, validation, lesson.split.unit)
    for name, rows in (("training", split.train), ("validation", split.validation)):
        if not len(rows):
            do = f"Give it more wells, a larger `validation`, or `validate_on` another than {config.validate_on}."
            raise InputError("encoder", f"{name} pairs", "no treatment with two wells", "one or more", do)
    trunk = config.trunk(lesson.crops.shape[1])
    contrast = drawn(lambda: Contrast(config.projection, config.temperature, **trunk), seed)
    fill_start(config, contrast)
    contrast = placed(contrast, device)
    draw = partial(paired, targets=targets, batch=config.batch)
    examples = Examples(lesson.crops, targets, lesson.name)
    history = train_network(contrast, examples, split, config, seed, device, progress, lesson.keep, draw)
    return Learned(arrays_of(contrast), history, classes)


def forward(config: ContrastiveConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    return embedding_by(config, weights, channels, device)


def paired(
    rows: NDArray[np.int64], rng: np.random.Generator, targets: NDArray[np.int64], batch: int
) -> list[NDArray[np.int64]]:
    """Batches of pairs: of every treatment as many, the partner on another plate if there is one, else in another well.

    `targets` (n, 3): class, well, plate. Together as many rows as there are; each has a partner among them.
    """
    from morpho_assets.learn.training import in_batches

    own = targets[rows]
    names = np.unique(own[:, CLASS])
    if not len(names):
        return []
    of_class = {name: rows[own[:, CLASS] == name] for name in names}
    pairs: list[tuple[int, int]] = []
    order: list[int] = []
    while len(pairs) < max(1, len(rows) // 2):
        order = order or list(rng.permutation(names))
        fellows = of_class[order.pop()]
        first = int(rng.choice(fellows))
        elsewhere = fellows[targets[fellows, PLATE] != targets[first, PLATE]]
        if not len(elsewhere):
            elsewhere = fellows[targets[fellows, WELL] != targets[first, WELL]]
        pairs.append((first, int(rng.choice(elsewhere))))
    return in_batches(np.array(pairs, np.int64).ravel(), batch - batch % 2)


def with_partner(rows: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of treatments with windows of two wells among them."""
    rows = rows[targets[rows, CLASS] >= 0]
    pairs = np.unique(targets[rows][:, [CLASS, WELL]], axis=0)
    classes, wells = np.unique(pairs[:, 0], return_counts=True)
    return rows[np.isin(targets[rows, CLASS], classes[wells > 1])]
