from __future__ import annotations

import math

import pytest
import torch

from morpho_assets.learn.vae import ConvVae


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_shapes_for_any_channels_and_size():
    for channels, size in [(1, 8), (5, 48), (8, 16)]:
        network, crops = ConvVae(channels, size, latent=6, beta=1), torch.rand(3, channels, size, size)
        assert network.embed(crops).shape == (3, 6)
        assert network.reconstruct(crops).shape == crops.shape


def test_a_crop_is_embedded_alike_in_any_batch():
    network, crops = ConvVae(2, 16, latent=4, beta=1), torch.rand(5, 2, 16, 16)
    torch.testing.assert_close(network.embed(crops)[2:3], network.embed(crops[2:3]))


def test_loss_by_hand():
    """Encoder and decoder that give zeros: mean 0, log variance 0, so no divergence; error 1 on crops of ones."""
    network = ConvVae(1, 8, latent=2, beta=1)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    loss = network.loss(torch.ones(2, 1, 8, 8), torch.Generator())
    assert loss.item() == pytest.approx(0.0, abs=1e-5)  # log(1) / 2
    last = network.encoder[-1]
    with torch.no_grad():
        last.bias[:] = torch.tensor([1.0, 0.0, 0.0, math.log(2)])  # means 1 and 0, variances 1 and 2
    divergence = (1 + 1 - 0 - 1 + 0 + 2 - math.log(2) - 1) / 2
    loss = network.loss(torch.ones(2, 1, 8, 8), torch.Generator())
    assert loss.item() == pytest.approx(divergence / 64, abs=1e-5)


def test_beta_zero_leaves_the_likelihood_alone():
    crops = torch.rand(4, 1, 8, 8)
    network = ConvVae(1, 8, latent=2, beta=0)
    with_prior = ConvVae(1, 8, latent=2, beta=10)
    with_prior.load_state_dict(network.state_dict())
    seeded = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert network.loss(crops, seeded[0]) < with_prior.loss(crops, seeded[1])
