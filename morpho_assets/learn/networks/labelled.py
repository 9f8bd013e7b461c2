"""Networks that learn from treatments: a trunk that gives an embedding, and a head that is asked about it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from morpho_assets.learn.networks.lite0 import Lite0, widths
from morpho_assets.learn.networks.resnet import WIDTHS, ResNet
from morpho_assets.learn.tensors import each_channel, resized

Architecture = Literal["small", "resnet18", "lite0"]
IMPOSSIBLE = -1e4
"""A similarity that leaves nothing of a pair: e to it is 0."""


class Small(nn.Module):
    """(n, C, S, S) -> (n, 64): two convolutions and one full layer (row W2 of Wang's comparison), from scratch."""

    WIDTH = 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(32, self.WIDTH, 5, stride=2, padding=2)
        self.full = nn.Linear(2 * self.WIDTH, self.WIDTH)

    def maps(self, images: Tensor) -> Tensor:
        return functional.relu(self.conv2(functional.relu(self.conv1(images))))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        return functional.relu(self.full(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)))


class Labelled(nn.Module):
    """(n, C, S, S) crops scaled to [0, 1] -> (n, d) embedding, that of the layer before the head.

    The trunk sees images of `size` pixels in [-1, 1]: all channels at once (`stack`), or each alone, three times, with
    the embeddings of the channels side by side (`bag`).
    """

    def __init__(self, architecture: Architecture, channels: int, bag: bool, size: int, block: int) -> None:
        super().__init__()
        planes = 3 if bag else channels
        self.size, self.planes, self.bag = size, planes, bag
        if architecture == "small":
            self.trunk: nn.Module = Small(planes)
            width = Small.WIDTH
        elif architecture == "resnet18":
            self.trunk, width = ResNet("resnet18", planes), WIDTHS[-1]
        else:
            self.trunk, width = Lite0(block, planes), widths(block)
        self.width = width * (channels if bag else 1)

    def seen(self, crops: Tensor) -> Tensor:
        """The images that the trunk is given: (n, C, size, size), or (n C, 3, size, size) of a bag."""
        images = 2 * resized(crops, self.size) - 1
        return each_channel(images, self.planes) if self.bag else images

    def forward(self, crops: Tensor) -> Tensor:
        return self.trunk(self.seen(crops)).reshape(len(crops), -1)


class Classifier(Labelled):
    """A linear head that names the class of each crop. `targets` (n, 3): class, well, plate."""

    def __init__(self, classes: int, weights: Tensor | None = None, **trunk: object) -> None:
        super().__init__(**trunk)  # type: ignore[arg-type]
        self.head = nn.Linear(self.width, classes)
        self.register_buffer("class_weights", torch.ones(classes) if weights is None else weights)

    def logits(self, crops: Tensor) -> Tensor:
        return self.head(self(crops))

    def loss(self, crops: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        return functional.cross_entropy(self.logits(crops), targets[:, 0], self._weights())

    def trivial_loss(self, crops: Tensor, targets: Tensor) -> Tensor:
        """Of the answer that gives each class its share of the weighted training crops, whatever it is shown: all the
        same, since classes are balanced."""
        return torch.tensor(math.log(self.head.out_features))

    def _weights(self) -> Tensor:
        weights = self.class_weights
        assert isinstance(weights, Tensor)
        return weights


class Contrast(Labelled):
    """Crops of one treatment in other wells are to be alike: the supervised contrastive loss (Khosla and others,
    arXiv 2004.11362) on a projection of the embedding, cosine similarity. `targets` (n, 3): class, well, plate.

    Positives are of another plate where the batch has such, else of another well. Crops of the same treatment that are
    no positives are left out, so that neither well nor plate is what is learned.
    """

    def __init__(self, projection: int, temperature: float, **trunk: object) -> None:
        super().__init__(**trunk)  # type: ignore[arg-type]
        self.temperature = temperature
        self.head = nn.Sequential(nn.Linear(self.width, self.width), nn.ReLU(), nn.Linear(self.width, projection))

    def loss(self, crops: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        return contrast(self.head(self(crops)), targets, self.temperature)

    def trivial_loss(self, crops: Tensor, targets: Tensor) -> Tensor:
        """Of embeddings that are all the same."""
        return contrast(torch.ones((len(crops), 2), device=crops.device), targets, self.temperature)


def contrast(vectors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean over crops with a positive of -log of the share of similarity that positives have; 0 where none has one."""
    unit = functional.normalize(vectors.float(), dim=1)
    likeness = unit @ unit.T / temperature
    same, same_well, same_plate = (targets[:, None, column] == targets[None, :, column] for column in range(3))
    elsewhere = same & ~same_plate
    positive = torch.where(elsewhere.any(dim=1, keepdim=True), elsewhere, same & ~same_well)
    likeness = torch.where(positive | ~same, likeness, torch.full_like(likeness, IMPOSSIBLE))
    log_share = likeness - likeness.logsumexp(dim=1, keepdim=True)
    count = positive.sum(dim=1)
    each = -(log_share * positive).sum(dim=1) / count.clamp(min=1)
    return each[count > 0].mean() if bool((count > 0).any()) else (vectors * 0.0).sum()
