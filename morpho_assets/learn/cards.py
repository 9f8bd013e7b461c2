"""An encoder's card: what it is, what it must be given, what it has seen and under which terms it may be used.

A JSON file beside the weights. With them it suffices to encode anywhere; neither runs code when it is read.
"""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from morpho_assets import __version__
from morpho_assets.learn.config import Unit
from morpho_assets.learn.kinds import EncoderConfig

FORMAT: Literal["morpho-assets encoder 4"] = "morpho-assets encoder 4"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inputs(_Model):
    """What the encoder must be given: windows of which unit and size, and how their intensities become 0 to 1."""

    unit: Unit
    channels: tuple[str, ...]
    crop_size: int
    shrink: int
    pixel_size: float | None
    """Width of a pixel of the windows as they are given, µm; null where neither settings nor images say it."""
    window_size: float | None
    """Side of such a window, µm."""
    own_pixels: bool
    neighbours: str
    scaling: Literal["controls", "training", "image"]
    percentiles: tuple[float, float]
    low: tuple[float, ...] | None
    """What becomes 0 in each channel; null where the plate's controls or the window itself say it."""
    high: tuple[float, ...] | None


class Seen(_Model):
    """What the weights, the scaling or the components were made from."""

    cells: int
    plates: tuple[str, ...]
    wells: tuple[str, ...]
    """Plate and well, with a blank between; those held out to stop and to choose are among them."""
    validation_wells: tuple[str, ...]
    split: Literal["group", "cell", "none"]
    labels: tuple[str, ...]
    """Treatments that it was told; none for an encoder that is told none."""


class Losses(_Model):
    """Losses per epoch; none for an encoder that is not trained by gradients."""

    train: tuple[float, ...]
    validation: tuple[float, ...]
    best_epoch: int
    trivial: float | None = None
    """Validation loss of the best answer that looks at no image."""


class Alignment(_Model):
    """How the axes of a fold of a cross-fitted encoder were turned onto those of the first fold."""

    onto: str
    """Hash of the first fold."""
    windows: int
    """Windows of negative controls that the turn was fitted on."""
    agreement: float
    """Share of the variation of controls, of wells that had no part in a turn, on which both folds then agree."""


class Card(_Model):
    """All that is known of an encoder beside its weights."""

    format: Literal["morpho-assets encoder 4"] = FORMAT
    kind: str
    architecture: str
    numbers: int = Field(description="length of an embedding")
    inputs: Inputs
    config: EncoderConfig
    seen: Seen
    losses: Losses
    classes: tuple[str, ...] = ()
    """Treatments that a classifier tells apart, in the order of its head's rows."""
    scores: dict[str, float] = {}
    """How well it names them on the windows that validate, fractions: top_1, top_5, balanced_accuracy, and beside them
    chance, majority, and train_top_1 of the windows that it learned from."""
    verdict: str
    """`learned`, or what went wrong (`verdict_on`)."""
    alignment: Alignment | None = None
    drawn_seed: int | None
    """Of an untrained one: the seed, of three, whose embeddings tell wells apart best."""
    licence: str
    sha256: str
    """Of the weights' file, what the encoder must be given, and its settings."""
    versions: dict[str, str]


def digest_of(weights: bytes, inputs: Inputs, config: EncoderConfig) -> str:
    """Equal for encoders that give equal embeddings."""
    digest = hashlib.sha256(weights)
    for part in (inputs, config):
        digest.update(part.model_dump_json().encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """What the encoder was made with."""
    named = {name: version(name) for name in ("numpy", "scikit-learn", "torch")}
    return {"morpho-assets": __version__, "python": platform.python_version(), **named}
