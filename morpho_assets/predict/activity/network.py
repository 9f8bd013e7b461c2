"""A small feed-forward network of many assays at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from morpho_assets.predict.activity.models import NetworkModel

Floats = NDArray[np.floating]
BATCHES, LEAST, MOST = 8, 16, 256  # steps of a pass at least, and compounds of a step


def fit_network(config: NetworkModel, x: Floats, active: Floats, weights: Floats, shown: Floats) -> Floats:
    """(m, a) chances of rows `shown` (m, d), by networks trained on `x` (n, d), `active` (n, a) where `weights` (n, a)
    are above 0: the mean of the ensemble. The same on every run with the same seed and machine."""
    import torch
    from torch import nn

    rows, outcome, weight = (torch.as_tensor(np.asarray(each, np.float32)) for each in (x, active, weights))
    at_once = min(max(len(rows) // BATCHES, LEAST), MOST)
    length = float(np.sqrt(np.mean(np.square(x)))) or 1.0
    rows, asked = rows / length, torch.as_tensor(np.asarray(shown, np.float32)) / length
    found = np.zeros((len(shown), active.shape[1]))
    for member in range(config.ensemble):
        generator = torch.Generator().manual_seed(config.seed * 1000 + member)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1000 + member)
            network = nn.Sequential(
                nn.Linear(x.shape[1], config.hidden), nn.ReLU(), nn.Dropout(config.dropout),
                nn.Linear(config.hidden, active.shape[1]),
            )  # fmt: skip
            optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
            for _ in range(config.epochs):
                for batch in torch.randperm(len(rows), generator=generator).split(at_once):
                    loss = nn.functional.binary_cross_entropy_with_logits(
                        network(rows[batch]), outcome[batch], weight[batch], reduction="sum"
                    ) / weight[batch].sum().clamp_min(1e-9)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                schedule.step()
        network.eval()
        with torch.no_grad():
            found += torch.sigmoid(network(asked)).double().numpy() / config.ensemble
    return found
