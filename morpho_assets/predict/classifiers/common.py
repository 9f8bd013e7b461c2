"""What every classifier's config has, and the weights of rows by class."""

from __future__ import annotations

from itertools import product
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
LEAST = 1e-12
"""Of a probability, before its logarithm."""


class ClassifierConfig(BaseModel):
    """What all kinds have. Settings that are lists are choices, of which the best is taken inside the training rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    CHOICES: ClassVar[tuple[str, ...]] = ()

    pca: float | None = Field(
        default=None, gt=0, description="principal components first: their number, or below 1 the variance they keep"
    )
    log: bool = Field(default=False, description="sign(x) log(1 + |x|) of every feature first")
    standardize: bool = Field(
        default=True,
        description="each feature in units of its spread, each block of one length; false: rows as they are, brought "
        "to a mean square of 1 (features whose scale means something: components, profiles in units of controls)",
    )
    clip: float = Field(default=10, gt=0, description="features are cut at so many standard deviations")
    class_weight: Literal["balanced"] | None = Field(
        default="balanced", description="balanced: every class weighs the same; null: every row does"
    )
    calibrate: Literal["temperature"] | None = Field(
        default=None, description="temperature: probabilities are made honest on folds of the training rows"
    )
    folds: int = Field(default=5, ge=2, description="folds of the training rows to choose and to calibrate on")
    choose_by: Literal["weighted_F1", "balanced_accuracy"] = Field(
        default="weighted_F1", description="score by which settings are chosen"
    )
    missing: Literal["error", "mean"] = Field(
        default="error",
        description="a feature that other cells lack altogether: an error, or the mean of training (and said so)",
    )
    seed: int = Field(default=0, ge=0, description="seed of folds and draws")

    @property
    def candidates(self) -> list[Self]:
        """One config per combination of choices, in their order; the first wins a tie."""
        lists = [getattr(self, name) for name in self.CHOICES]
        return [
            self.model_copy(update={name: (value,) for name, value in zip(self.CHOICES, values, strict=True)})
            for values in product(*lists)
        ]


def row_weights(codes: Codes, classes: int, config: ClassifierConfig) -> Floats:
    """(n,) weights of rows, mean 1: equal, or such that every class that is there weighs the same."""
    if config.class_weight is None:
        return np.ones(len(codes))
    counts = np.bincount(codes, minlength=classes)
    return np.asarray(len(codes) / ((counts > 0).sum() * counts[codes]), dtype=float)


def log_softmax(logits: Floats) -> Floats:
    """(n, k) logarithms of probabilities."""
    top = logits.max(axis=1, keepdims=True)
    return np.asarray(logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))


def logs(probability: Floats) -> Floats:
    """(n, k) logarithms of shares that need not sum to 1."""
    lifted = np.clip(probability, LEAST, None)
    return np.asarray(np.log(lifted / lifted.sum(axis=1, keepdims=True)))
