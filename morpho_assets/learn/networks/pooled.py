"""A head over the cells of a well: each cell's numbers are changed, then averaged over the well (Deep Sets, Zaheer and
others, arXiv 1703.06114)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from morpho_assets.learn.networks.labelled import contrast

WELL = 1
"""Column of the targets."""


class SetHead(nn.Module):
    """(n, d) numbers of cells -> (n, d): x + W2 relu(W1 x + b1) + b2, whose mean over cells is the well.

    As it starts W2 is 0: the well is then the plain mean of its cells, and training can only move away from that. With
    `drawn` W2 is drawn as well. `targets` (n, 3): class, well, plate.
    """

    def __init__(self, numbers: int, hidden: int, temperature: float, drawn: bool = False) -> None:
        super().__init__()
        self.temperature = temperature
        self.first, self.second = nn.Linear(numbers, hidden), nn.Linear(hidden, numbers)
        if not drawn:
            nn.init.zeros_(self.second.weight)
            nn.init.zeros_(self.second.bias)

    def forward(self, cells: Tensor) -> Tensor:
        return cells + self.second(torch.relu(self.first(cells)))

    def loss(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Wells of one treatment, on other plates where there are such, are to be alike. `images` (n, d, 1, 1)."""
        means, of = pooled(self(images.flatten(1)), targets)
        return contrast(means, of, self.temperature)

    def trivial_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Of wells that are all the same."""
        _, of = pooled(images.flatten(1), targets)
        return contrast(torch.ones((len(of), 2), device=images.device), of, self.temperature)


def pooled(cells: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Means over the cells of each well (k, d), and the targets (k, 3) of the wells."""
    wells, number = torch.unique(targets[:, WELL], return_inverse=True)
    sums = torch.zeros((len(wells), cells.shape[1]), device=cells.device).index_add(0, number, cells)
    of = torch.zeros((len(wells), targets.shape[1]), dtype=targets.dtype, device=targets.device)
    of[number] = targets
    return sums / torch.bincount(number)[:, None], of
