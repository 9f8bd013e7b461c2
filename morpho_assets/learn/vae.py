"""A variational autoencoder of cell windows: it learns to redraw a cell from a few numbers, no labels needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from morpho_assets.learn.cells import Cells
from morpho_assets.learn.config import TrainedConfig
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights

if TYPE_CHECKING:
    import torch

CELLS_AT_ONCE = 64


class VaeConfig(TrainedConfig):
    """A convolutional autoencoder, trained on the study's cells (Zhang: latent 64; Wang: grey_mask, latent 32)."""

    kind: Literal["vae"] = Field("vae", description="the encoder")
    shrink: int = Field(2, ge=1, description="pixels averaged along each side; the rest is a multiple of 8 pixels")
    latent: int = Field(32, ge=1, description="numbers in the latent code; an invariant embedding has twice as many")
    invariant: bool = Field(
        True,
        description="embed by mean and spread of the code over the eight orientations; false: by the code as it lies",
    )
    sees: Literal["stack", "grey_mask"] = Field(
        "stack", description="the channels as they are, or their mean beside the cell's own pixels"
    )
    beta: float = Field(1.0, ge=0, description="weight of the divergence from the prior; above 1 it is a beta-VAE")
    condition: Literal["plate", "treatment"] | None = Field(
        None,
        description="what the decoder is told, so that the code need not say it; told treatments, it has seen labels",
    )
    learning_rate: float = Field(2e-3, gt=0, description="step size")
    components: int | None = Field(None, ge=1, description="principal components that are kept; null: the code")

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.side % 8:
            raise ValueError(f"crop_size {self.crop_size} must be a multiple of 8 x shrink ({8 * self.shrink})")
        return self

    @property
    def sees_own_pixels(self) -> bool:
        return self.sees == "grey_mask"

    @property
    def uses_labels(self) -> bool:
        return self.condition == "treatment"


def architecture(config: VaeConfig) -> str:
    told = f", decoder told the {config.condition}" if config.condition else ""
    return f"convolutional VAE, pooled head, latent {config.latent}, {config.sees}{told}"


def licence(config: VaeConfig) -> str:
    return "none: weights drawn at random" if config.untrained else "that of the plates it learned from"


def learn(
    config: VaeConfig, lesson: Lesson, seed: int, device: torch.device, progress: Progress | None = None
) -> Learned:
    """Trained weights, or weights as drawn."""
    from morpho_assets.learn.networks.conv_vae import ConvVae
    from morpho_assets.learn.tensors import arrays_of, drawn, placed
    from morpho_assets.learn.training import Examples, train_network

    images = _seen(config, lesson.crops, lesson.cells.own)
    told, numbers = 0, np.zeros(len(images), np.int64)
    if lesson.conditions is not None:
        names, numbers = np.unique(lesson.conditions, return_inverse=True)
        told = len(names)
    build = lambda: ConvVae(images.shape[1], config.side, config.latent, config.beta, told)  # noqa: E731
    vae = placed(drawn(build, seed), device)
    if config.untrained or not config.epochs:
        return Learned(arrays_of(vae))
    examples = Examples(images, numbers[:, None].astype(np.int64), lesson.name)
    history = train_network(vae, examples, lesson.split, config, seed, device, progress, lesson.keep)
    return Learned(arrays_of(vae), history)


def network(config: VaeConfig, weights: Weights, channels: int, device: torch.device) -> Any:
    """(n, C, S, S) images that the network sees and redraws -> its code, as a module."""
    from morpho_assets.learn.networks.conv_vae import Codes, ConvVae
    from morpho_assets.learn.tensors import filled

    planes = 2 if config.sees == "grey_mask" else channels
    told = weights["decoder.0.weight"].shape[1] - config.latent
    vae: Any = filled(lambda: ConvVae(planes, config.side, config.latent, config.beta, told), weights, device)
    return Codes(vae, config.invariant, config.sees == "grey_mask")


def forward(config: VaeConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    import torch

    from morpho_assets.learn.tensors import tensor_of

    codes = network(config, weights, channels, device)

    def embed(cells: Cells) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(cells), CELLS_AT_ONCE):
                part = cells[start : start + CELLS_AT_ONCE]
                pixels = None if part.own is None else torch.from_numpy(part.own).to(device)
                parts.append(codes(tensor_of(part.crops, device), pixels).cpu().numpy())
        return np.concatenate(parts)

    return embed


def redrawn(
    config: VaeConfig, weights: Weights, crops: NDArray[np.float32], own: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the network sees of windows (n, C, S, S) scaled to [0, 1], and what it makes of that: (n, C, S, S) each, of
    `grey_mask` (n, 2, S, S). A decoder that is told a condition is told the first."""
    import torch

    own_weights = {name: array for name, array in weights.items() if not name.startswith(("components.", "alignment."))}
    codes = network(config, own_weights, crops.shape[1], torch.device("cpu"))
    with torch.inference_mode():
        images = codes.images(torch.from_numpy(crops), None if own is None else torch.from_numpy(own))
        told = torch.zeros(len(crops), dtype=torch.int64)
        made = codes.vae.decode(codes.vae(images), told)
    return np.asarray(images.numpy()), np.asarray(made.numpy())


def _seen(config: VaeConfig, crops: NDArray[np.float32], own: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """The images that the network sees and redraws."""
    if config.sees == "stack":
        return crops
    assert own is not None
    return np.stack([crops.mean(axis=1), own.astype(np.float32)], axis=1)
