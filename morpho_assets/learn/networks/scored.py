"""An embedding with a score for each class on top: what a heat map explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Embed = Callable[[NDArray[np.float32], NDArray[np.bool_] | None], NDArray[np.float32]]
"""(n, C, S, S) crops and (n, S, S) own pixels -> (n, d)."""


class Prepared(nn.Module):
    """A network of images, given crops (n, C, S, S): what it gives of all images of a crop stands side by side."""

    def __init__(self, prepare: Callable[[Tensor], Tensor], network: nn.Module) -> None:
        super().__init__()
        self.prepare, self.network = prepare, network

    def forward(self, crops: Tensor) -> Tensor:
        return self.network(self.prepare(crops)).reshape(len(crops), -1)


class Outside(nn.Module):
    """An embedding that is no torch network: it has values, and no gradients."""

    def __init__(self, embed: Embed) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, crops: Tensor, own: Tensor | None = None) -> Tensor:
        pixels = None if own is None else own.cpu().numpy()
        return torch.from_numpy(self.embed(crops.detach().cpu().numpy(), pixels)).to(crops.device)


class Named(nn.Module):
    """(n, C, S, S) crops -> (n, k): the logits of a linear head."""

    def __init__(self, network: nn.Module, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("weight", torch.from_numpy(np.array(weight)))
        self.register_buffer("bias", torch.from_numpy(np.array(bias)))

    def forward(self, crops: Tensor, own: Tensor | None = None) -> Tensor:
        return functional.linear(
            _embedded(self.network, crops, own), self.get_buffer("weight"), self.get_buffer("bias")
        )


class Alike(nn.Module):
    """(n, C, S, S) crops -> (n, k): cosine similarity of the embedding to the mean embedding (k, d) of each class.

    `steps` are pairs of a matrix (d, e) and a shift (e,), by which the embedding v becomes v @ matrix + shift before.
    """

    def __init__(
        self, network: nn.Module, means: NDArray[np.float32],
        steps: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.count = network, len(steps)
        self.register_buffer("means", functional.normalize(torch.from_numpy(np.array(means, np.float32)), dim=1))
        for number, (matrix, shift) in enumerate(steps):
            self.register_buffer(f"shift{number}", torch.from_numpy(np.array(shift, np.float32)))
            self.register_buffer(f"matrix{number}", torch.from_numpy(np.array(matrix, np.float32)))

    def forward(self, crops: Tensor, own: Tensor | None = None) -> Tensor:
        vectors = _embedded(self.network, crops, own)
        for number in range(self.count):
            vectors = vectors @ self.get_buffer(f"matrix{number}") + self.get_buffer(f"shift{number}")
        return functional.normalize(vectors, dim=1) @ self.get_buffer("means").T


def _embedded(network: nn.Module, crops: Tensor, own: Tensor | None) -> Tensor:
    found: Tensor = network(crops) if own is None else network(crops, own)
    return found
