"""Naming treatments as a pretext, as DeepProfiler trains (Moshkov and others 2024, 10.1038/s41467-024-45999-1).

Cells, every class as often in each epoch, stochastic gradient descent at 0.005, thirty epochs, from ImageNet. Most
cells of most treatments look like controls: what counts is the embedding, not how many are named rightly.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from morpho_assets.learn.classifier import ClassifierConfig, architecture, forward, learn, licence, network

__all__ = ["WeaklySupervisedConfig", "architecture", "forward", "learn", "licence", "network"]


class WeaklySupervisedConfig(ClassifierConfig):
    """The same as DeepProfiler trains it on cells: treatments as a pretext."""

    kind: Literal["weakly_supervised"] = Field("weakly_supervised", description="the encoder")
    optimizer: Literal["adamw", "sgd"] = Field("sgd", description="sgd is with momentum 0.9 (Nesterov)")
    learning_rate: float = Field(5e-3, gt=0, description="step size")
    schedule: Literal["constant", "cosine"] = Field("constant", description="the step size over the epochs")
    warmup: float = Field(0.0, ge=0, description="epochs over which the step size rises from near 0")
    weight_decay: float = Field(0.0, ge=0, description="decay of weights, not of biases and normalisations")
