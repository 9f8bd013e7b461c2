"""Augmentation of a batch on its device, each window by itself: turned, mirrored, brighter, flatter.

A cell has no up, and how bright a stain is changes from plate to plate more than from drug to drug: brightness per
channel was the strongest augmentation of Kim and others 2025 (Scientific Reports 15:4876).
"""

from __future__ import annotations

import torch
from torch import Tensor

from morpho_assets.learn.config import AugmentConfig

SMALLEST = 1e-6
"""Below it a power has no slope that a network could learn by."""


def augmented(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(n, C, S, S) images scaled to about [0, 1], augmented one by one; where they are below 0 or above 1 they stay so.

    Each image is mirrored or not and turned by a quarter or more (`turns`), and each of its channels x becomes
    x^gamma + shift, gamma in [1 / (1 + g), 1 + g] and shift in [-s, s], drawn anew. No images give none.
    """
    n, channels = images.shape[:2]
    device = images.device
    if config.turns and n:
        turns = torch.randint(4, (n,), generator=generator, device=device)
        mirrored = torch.randint(2, (n, 1, 1, 1), generator=generator, device=device).bool()
        images = torch.where(mirrored, images.flip(3), images)
        turned = torch.empty_like(images)
        for turn in range(4):
            rows = turns == turn
            turned[rows] = torch.rot90(images[rows], turn, dims=(2, 3))
        images = turned
    if config.gamma:
        reach = torch.tensor(1 + config.gamma, device=device).log()
        gamma = torch.exp(reach * _between(n, channels, generator, device))
        images = torch.where(images > 0, images.clamp(min=SMALLEST) ** gamma, images)
    if config.shift:
        images = images + config.shift * _between(n, channels, generator, device)
    return images


def _between(n: int, channels: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(n, C, 1, 1) numbers in [-1, 1]."""
    return 2 * torch.rand((n, channels, 1, 1), generator=generator, device=device) - 1
