"""A network that learns to name the treatments of cells or sites (Z3, W2 of the source papers).

A ResNet-18 fine-tuned on sites, or two convolutions from scratch: whatever names treatments, its last layer but one
is an embedding.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from morpho_assets.learn.classifier import ClassifierConfig, architecture, forward, learn, licence, network

__all__ = ["SupervisedConfig", "architecture", "forward", "learn", "licence", "network"]


class SupervisedConfig(ClassifierConfig):
    """A network that learns to name treatments, of cells or sites."""

    kind: Literal["supervised"] = Field("supervised", description="the encoder")
