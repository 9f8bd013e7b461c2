"""The variational autoencoder: shapes, its loss by hand, and that a code does not say where a cell lies."""

from __future__ import annotations

import math

import pytest
import torch

from morpho_assets.learn.networks.conv_vae import ConvVae


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


UNTOLD = torch.zeros((4, 1), dtype=torch.int64)
"""Conditions of four crops to a network that is told none."""


def test_shapes_for_any_channels_and_size():
    for channels, size in [(1, 8), (5, 48), (8, 16)]:
        network, crops = ConvVae(channels, size, latent=6, beta=1), torch.rand(3, channels, size, size)
        codes = network(crops)
        assert codes.shape == (3, 6)
        assert network.decode(codes).shape == crops.shape


def test_a_crop_is_embedded_alike_in_any_batch():
    network, crops = ConvVae(2, 16, latent=4, beta=1), torch.rand(5, 2, 16, 16)
    torch.testing.assert_close(network(crops)[2:3], network(crops[2:3]))


def test_where_a_cell_lies_does_not_enter_the_code():
    """A step of three halvings, 8 pixels, within an empty surrounding: the same maps elsewhere, the same code."""
    network = ConvVae(1, 64, latent=4, beta=1)
    crop = torch.zeros(1, 1, 64, 64)
    crop[..., 28:36, 28:36] = torch.rand(8, 8)
    torch.testing.assert_close(network(crop), network(crop.roll((8, -8), dims=(2, 3))))


def test_the_trivial_loss_is_that_of_the_mean_picture():
    crops = torch.rand(4, 1, 8, 8)
    error = ((crops - crops.mean(dim=0)) ** 2).mean()
    assert ConvVae(1, 8, 2, 1).trivial_loss(crops, UNTOLD).item() == pytest.approx(math.log(error + 1e-6) / 2, rel=1e-4)


def test_loss_by_hand():
    """A head and a decoder that give zeros: mean 0, log variance 0, so no divergence; error 1 on crops of ones."""
    network = ConvVae(1, 8, latent=2, beta=1)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    loss = network.loss(torch.ones(2, 1, 8, 8), UNTOLD[:2], torch.Generator())
    assert loss.item() == pytest.approx(0.0, abs=1e-5)  # log(1) / 2
    with torch.no_grad():
        network.head.bias[:] = torch.tensor([1.0, 0.0, 0.0, math.log(2)])  # means 1 and 0, variances 1 and 2
    divergence = (1 + 1 - 0 - 1 + 0 + 2 - math.log(2) - 1) / 2
    loss = network.loss(torch.ones(2, 1, 8, 8), UNTOLD[:2], torch.Generator())
    assert loss.item() == pytest.approx(divergence / 64, abs=1e-5)


def test_beta_zero_leaves_the_likelihood_alone():
    crops = torch.rand(4, 1, 8, 8)
    network = ConvVae(1, 8, latent=2, beta=0)
    with_prior = ConvVae(1, 8, latent=2, beta=10)
    with_prior.load_state_dict(network.state_dict())
    seeded = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert network.loss(crops, UNTOLD, seeded[0]) < with_prior.loss(crops, UNTOLD, seeded[1])


def test_what_the_decoder_is_told_changes_the_picture_and_not_the_code():
    network, crops = ConvVae(1, 8, latent=2, beta=1, conditions=2), torch.rand(3, 1, 8, 8)
    codes = network(crops)
    first, second = (network.decode(codes, torch.full((3,), number)) for number in (0, 1))
    assert not torch.allclose(first, second)
    loss = network.loss(crops, torch.tensor([[0], [1], [1]]), torch.Generator().manual_seed(0))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
