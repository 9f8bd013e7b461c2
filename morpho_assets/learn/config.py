"""What every encoder's settings have in common: its unit and channels, how it scales, on what it learns, its twin."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Literal["cell", "tile", "site"]
"""What an encoder is shown: a window around a cell, a tile of a site, or a whole site."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainsOn(_Model):
    """The wells whose cells an encoder may see before it embeds any. Early stopping and every choice use these too."""

    plates: Literal["all"] | tuple[str, ...] = Field(
        "all", description="barcodes, or all plates of the study: a new plate then makes the encoder stale"
    )
    wells: Literal["all", "controls"] | tuple[str, ...] = Field(
        "all", description="all wells of these plates, their negative controls, or wells by name"
    )
    without: tuple[str, ...] = Field(
        (), description="treatments (Metadata_Perturbation) whose wells it must not see: what it makes of unknown ones"
    )


class CellEncoderConfig(_Model):
    """Settings that every encoder has."""

    unit: Unit = Field(
        "cell",
        description="what is embedded: a window around each cell, tiles that lie side by side over a site, or whole "
        "sites, resized",
    )
    channels: tuple[str, ...] | None = Field(
        None, min_length=1, description="channels that the network sees, in its order; null: all, in the plates' order"
    )
    crop_size: int = Field(
        96,
        ge=8,
        description="side of the window cut around a cell, or of a tile, in pixels of the site image; of whole sites "
        "the side that they are resized to, times `shrink`",
    )
    shrink: int = Field(1, ge=1, description="pixels averaged along each side of the window")
    pixel_size: float | None = Field(
        None, gt=0, description="width of a pixel of the site images, µm; null: what the image files say, if they do"
    )
    neighbours: Literal["keep", "dim", "mask"] = Field(
        "keep", description="pixels of other cells in a window: as they are, at 30 %, or 0"
    )
    scaling: Literal["controls", "training", "image"] = Field(
        "controls",
        description="whose percentiles become 0 and 1: of each plate's negative controls, of the training cells, or of "
        "each window alone, which deletes how bright a cell is",
    )
    percentiles: tuple[float, float] = Field((1.0, 99.8), description="these percentiles, per channel")
    components: int | None = Field(
        64, ge=1, description="principal components of the training cells that are kept; null: the numbers as they come"
    )
    trains_on: TrainsOn = Field(TrainsOn(), description="the wells it may see")
    cross_fit: int | None = Field(
        None,
        ge=2,
        description="so many groups of these plates, each embedded by an encoder that was fitted on the others; their "
        "axes are turned onto each other by negative controls. Null: one encoder",
    )
    max_cells: int = Field(
        2_000, ge=2, description="cells (tiles, sites) it learns from at most, drawn evenly from these wells"
    )
    validation: float = Field(0.2, gt=0, lt=1, description="share of these wells held out whole, to stop and to choose")
    untrained: bool = Field(False, description="leave the network as it is drawn: what learning adds is the difference")
    twin: bool = Field(
        True, description="make `<name>_untrained` beside it, and a space of it beside each space of this encoder"
    )
    seed: int = Field(0, ge=0, description="seed of weights, split, order and noise")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where to compute; auto takes a GPU if there is one"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.crop_size % self.shrink:
            raise ValueError(f"crop_size {self.crop_size} must be a multiple of shrink {self.shrink}")
        if self.unit != "cell" and self.neighbours != "keep":
            raise ValueError(f"neighbours: {self.neighbours} is of cells; a {self.unit} has none: leave it out")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles {low}, {high} must rise within 0 to 100")
        return self

    @property
    def side(self) -> int:
        """Side of the windows that the encoder is given, in their own pixels."""
        return self.crop_size // self.shrink

    @property
    def sees_own_pixels(self) -> bool:
        """Whether windows come with the pixels that are the cell's own."""
        return False

    @property
    def uses_labels(self) -> bool:
        """Whether it is told the treatments of the cells that it learns from."""
        return False

    @property
    def starts_trained(self) -> bool:
        """Whether it trains further what somebody else trained: those weights are its second twin then."""
        return False

    @property
    def validates_on(self) -> Literal["wells", "plates", "cells", "treatments"]:
        """What is held out whole to stop and to choose."""
        return "wells"


class AugmentConfig(_Model):
    """How windows are changed while a network learns, each by itself and anew every time."""

    turns: bool = Field(True, description="quarter turns and mirrorings: cells have no up")
    gamma: float = Field(0.0, ge=0, description="a channel x becomes x^gamma, from 1 / (1 + this) to 1 + this")
    shift: float = Field(0.0, ge=0, description="and is raised or lowered by up to this, where controls span 0 to 1")


class TrainingConfig(_Model):
    """Settings of the training loop."""

    epochs: int = Field(30, ge=0, description="passes over the training windows at most; 0: the weights as they start")
    min_epochs: int = Field(5, ge=1, description="passes before early stopping may stop")
    patience: int = Field(5, ge=1, description="passes without a better validation loss before it stops")
    batch: int = Field(32, ge=2, description="windows per training step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd is with momentum 0.9 (Nesterov)")
    learning_rate: float = Field(1e-3, gt=0, description="step size")
    schedule: Literal["constant", "cosine"] = Field("constant", description="the step size over the epochs")
    warmup: float = Field(0.0, ge=0, description="epochs over which the step size rises from near 0")
    weight_decay: float = Field(0.0, ge=0, description="decay of weights, not of biases and normalisations")
    clip: float = Field(10.0, gt=0, description="largest length of a step's gradient")
    augment: AugmentConfig = Field(AugmentConfig(), description="changes of windows while it learns")


class TrainedConfig(TrainingConfig, CellEncoderConfig):
    """Settings of every encoder that is trained by gradients."""

    max_cells: int = Field(20_000, ge=2, description="cells it learns from at most, drawn evenly from its wells")
