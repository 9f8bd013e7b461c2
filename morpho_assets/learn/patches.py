"""A dictionary of small patches, learned by k-means (Coates and Ng 2012, 10.1007/978-3-642-35289-8_30).

Patches of all channels are whitened and clustered, at two scales; a cell is described by how strongly each entry of the
dictionary answers over its own pixels, on average and at most. No gradient, no epochs: seconds on one core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from morpho_assets.learn.cells import Cells
from morpho_assets.learn.config import CellEncoderConfig
from morpho_assets.learn.crops import shrunk
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights

if TYPE_CHECKING:
    import torch

SCALES = (1, 2)
"""Pixels of the window that are averaged along each side before patches are cut."""
PATCHES_PER_ENTRY = 200
FLOOR = 0.01
"""Added to the variances that whitening divides by, relative to their mean: noise is not blown up to signal."""
TINY = float(np.finfo(np.float32).tiny)
CELLS_AT_ONCE = 64


class PatchesConfig(CellEncoderConfig):
    """A dictionary of patches, learned by k-means on the study's cells."""

    kind: Literal["patches"] = Field("patches", description="the encoder")
    shrink: int = Field(2, ge=1, description="pixels averaged along each side of the window")
    patch: int = Field(6, ge=2, description="side of a patch, in pixels of the shrunk window")
    entries: int = Field(96, ge=2, description="entries of the dictionary at each of the two scales")
    threshold: float = Field(0.5, ge=0, description="an entry answers by what its likeness to a patch has above this")
    components: int | None = Field(64, ge=1, description="principal components that are kept; null: all answers")

    @property
    def sees_own_pixels(self) -> bool:
        return True


def architecture(config: PatchesConfig) -> str:
    return f"k-means dictionary, {config.entries} patches of {config.patch} pixels at scales 1 and 2"


def licence(config: PatchesConfig) -> str:
    return "none: filters drawn at random" if config.untrained else "that of the plates it learned from"


def learn(
    config: PatchesConfig, lesson: Lesson, seed: int, device: torch.device, progress: Progress | None = None
) -> Learned:
    """A filter per entry and scale: `filters_1` (k, C, p, p) and `bias_1` (k,), the likeness of a patch x to entry d
    being d . W (x - mean) with the whitening W in it. Untrained, d are drawn and W only scales."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for scale in SCALES:
        images = shrunk(lesson.crops[lesson.split.train], scale)
        patches = _patches(images, config.patch, PATCHES_PER_ENTRY * config.entries, rng)
        mean = patches.mean(axis=0)
        centred = patches - mean
        whitening = _whitening(centred, config.untrained)
        entries = _entries(centred @ whitening, config, seed, rng)
        filters = entries @ whitening  # whitening is symmetric
        weights[f"filters_{scale}"] = filters.reshape(-1, images.shape[1], config.patch, config.patch)
        weights[f"bias_{scale}"] = -filters @ mean
    return Learned({name: array.astype(np.float32) for name, array in weights.items()})


def forward(config: PatchesConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    import torch
    from torch.nn import functional

    from morpho_assets.learn.tensors import tensor_of

    tensors = {name: torch.from_numpy(np.array(array)).to(device) for name, array in weights.items()}

    def answers(crops: NDArray[np.float32], own: NDArray[np.bool_]) -> list[torch.Tensor]:
        found = []
        for scale in SCALES:
            images = tensor_of(shrunk(crops, scale), device)
            likeness = functional.conv2d(images, tensors[f"filters_{scale}"], tensors[f"bias_{scale}"])
            maps = functional.relu(likeness - config.threshold)  # (n, k, S - p + 1, S - p + 1)
            inside = torch.from_numpy(_centres(shrunk(own[:, None].astype(np.float32), scale), config.patch))
            inside = inside.to(device)  # (n, 1, ...) 1 where the patch's centre is the cell's own
            found += [(maps * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)), (maps * inside).amax(dim=(2, 3))]
        return found

    def embed(cells: Cells) -> NDArray[np.float32]:
        assert cells.own is not None
        parts = []
        with torch.inference_mode():
            for start in range(0, len(cells), CELLS_AT_ONCE):
                rows = slice(start, start + CELLS_AT_ONCE)
                parts.append(torch.cat(answers(cells.crops[rows], cells.own[rows]), dim=1).cpu().numpy())
        return np.concatenate(parts)

    return embed


def _patches(images: NDArray[np.float32], side: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, C side side) patches from random places of random images."""
    rows = rng.integers(0, len(images), count)
    top, left = rng.integers(0, images.shape[-1] - side + 1, (2, count))
    view: Any = np.lib.stride_tricks.sliding_window_view
    windows = view(images, (side, side), axis=(2, 3))
    return np.asarray(windows[rows, :, top, left].reshape(count, -1), np.float64)


def _whitening(centred: NDArray[np.float64], plain: bool) -> NDArray[np.float64]:
    """The symmetric (ZCA) whitening of centred patches (n, d); `plain`: their common scale alone."""
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    mean = max(float(variances.mean()), TINY)
    if plain:
        return np.eye(len(variances)) / np.sqrt(mean)
    return (vectors / np.sqrt(np.maximum(variances, 0) + FLOOR * mean)) @ vectors.T


def _entries(
    patches: NDArray[np.float64], config: PatchesConfig, seed: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(k, d) entries of length 1: k-means centres of the patches' directions, or directions drawn at random."""
    if config.untrained:
        entries = rng.normal(size=(config.entries, patches.shape[1]))
    else:
        from sklearn.cluster import MiniBatchKMeans

        lengths = np.linalg.norm(patches, axis=1, keepdims=True)
        typical = max(float(np.median(lengths)), TINY)  # a patch of background has no direction
        directions = patches / np.maximum(lengths, typical)
        means = MiniBatchKMeans(config.entries, random_state=seed, n_init=1, batch_size=2048, max_iter=30)
        entries = means.fit(directions).cluster_centers_
    return entries / np.maximum(np.linalg.norm(entries, axis=1, keepdims=True), TINY)


def _centres(own: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Of (n, 1, S, S) shares of own pixels those at the centres of patches, as 0 or 1; a cell without any: all."""
    first, last = side // 2, own.shape[-1] - (side - 1) // 2
    inside = (own[:, :, first:last, first:last] >= 0.5).astype(np.float32)
    inside[inside.sum(axis=(1, 2, 3)) == 0] = 1
    return inside
