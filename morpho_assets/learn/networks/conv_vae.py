"""A small convolutional variational autoencoder for cell crops (Kingma and Welling, arXiv 1312.6114).

Three halvings, no batch normalisation (a third of the time on a CPU, and a crop's embedding never depends on its
batch). The code is read from the maps' mean and largest value over the window, so that it can say what a cell is like
and not where it lies. The reconstruction term is the Gaussian likelihood at its best variance, so there is no weight to
tune between sharpness and regularity (Rybkin and others, "sigma-VAE", arXiv 2006.13202).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)
# Mean squared error below which sharper is no longer better: one grey level of 8 bits is 1.5e-5.
ERROR_FLOOR = 1e-6


class ConvVae(nn.Module):
    """(n, C, S, S) crops scaled to [0, 1] -> latent mean (n, d); S is a multiple of 8.

    With `conditions` > 0 the decoder is told one of so many conditions (a conditional VAE, Sohn and others 2015): what
    the condition explains need not be in the code. The encoder never sees it.
    """

    def __init__(self, channels: int, size: int, latent: int, beta: float, conditions: int = 0) -> None:
        super().__init__()
        self.beta, self.conditions = beta, conditions
        small, (first, second, third) = size // 8, WIDTHS
        self.maps = nn.Sequential(
            _halve(channels, first),  # (n, 16, S/2, S/2)
            _halve(first, second),  # (n, 32, S/4, S/4)
            _halve(second, third),  # (n, 64, S/8, S/8)
        )
        self.head = nn.Linear(2 * third, 2 * latent)  # (n, 2d): mean and log variance
        self.decoder = nn.Sequential(
            nn.Linear(latent + conditions, third * small * small),
            nn.Unflatten(1, (third, small, small)),
            nn.LeakyReLU(0.1),
            _double(third, second),
            _double(second, first),
            nn.ConvTranspose2d(first, channels, 4, stride=2, padding=1),  # (n, C, S, S)
        )

    def code(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Latent mean and log variance, (n, d) each."""
        maps = self.maps(crops)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)  # (n, 128)
        mean, log_variance = self.head(pooled).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, crops: Tensor) -> Tensor:
        """Latent mean, (n, d)."""
        return self.code(crops)[0]

    def decode(self, codes: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(n, d) codes and, of a conditional one, (n,) int64 conditions -> (n, C, S, S)."""
        if self.conditions:
            assert conditions is not None
            codes = torch.cat([codes, functional.one_hot(conditions, self.conditions).to(codes.dtype)], dim=1)
        return self.decoder(codes)

    def loss(self, crops: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Negative evidence lower bound in nats per pixel value, a scalar; below 0 once the error is small.

        `targets` (n, 1) int64: the condition of each crop, which only a conditional one is told.
        """
        mean, log_variance = self.code(crops)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        decoded = self.decode(mean + noise * torch.exp(log_variance / 2), targets[:, 0])
        error = torch.mean((decoded - crops) ** 2)
        likelihood = torch.log(error + ERROR_FLOOR) / 2
        divergence = (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1).mean() / 2
        return likelihood + self.beta * divergence / crops[0].numel()

    def trivial_loss(self, crops: Tensor, targets: Tensor) -> Tensor:
        """The loss of redrawing every crop as the mean of the batch."""
        return torch.log(crops.var(dim=0, correction=0).mean() + ERROR_FLOOR) / 2


class Codes(nn.Module):
    """(n, C, S, S) crops scaled to [0, 1] and (n, S, S) own pixels -> (n, d) code of an autoencoder as it lies, or
    (n, 2 d): its mean and spread over the eight orientations of the crop (`invariant`).

    With `grey_mask` the autoencoder sees the mean of the channels beside the own pixels.
    """

    def __init__(self, vae: ConvVae, invariant: bool, grey_mask: bool) -> None:
        super().__init__()
        self.vae, self.invariant, self.grey_mask = vae, invariant, grey_mask

    def images(self, crops: Tensor, own: Tensor | None = None) -> Tensor:
        """What the autoencoder sees."""
        if not self.grey_mask:
            return crops
        assert own is not None
        return torch.stack([crops.mean(dim=1), own.to(crops.dtype)], dim=1)

    def forward(self, crops: Tensor, own: Tensor | None = None) -> Tensor:
        images = self.images(crops, own)
        if not self.invariant:
            return self.vae(images)
        turned = [torch.rot90(image, turns, dims=(2, 3)) for image in (images, images.flip(3)) for turns in range(4)]
        each = torch.stack([self.vae(image) for image in turned])  # (8, n, d)
        return torch.cat([each.mean(dim=0), each.std(dim=0)], dim=1)


def _halve(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.1))


def _double(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.1))
