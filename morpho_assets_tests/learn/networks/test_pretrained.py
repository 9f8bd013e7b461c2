"""ResNet and ViT: the sizes and names of the published networks, so that their files fit."""

from __future__ import annotations

import pytest
import torch

from morpho_assets.learn.networks.resnet import ResNet
from morpho_assets.learn.networks.vit import ViT


@pytest.mark.parametrize(
    ("name", "numbers", "parameters", "names"),
    [
        ("resnet18", 512, 11_689_512 - 513_000, ["layer2.0.downsample.0.weight", "layer4.1.bn2.running_var"]),
        ("resnet50", 2048, 25_557_032 - 2_049_000, ["layer1.0.downsample.1.bias", "layer3.5.conv3.weight"]),
    ],
)
def test_resnets_are_torchvisions_without_the_last_layer(name, numbers, parameters, names):
    network = ResNet(name, channels=3).eval()
    assert sum(each.numel() for each in network.parameters()) == parameters
    assert set(names) <= set(network.state_dict())
    with torch.no_grad():
        assert network(torch.rand(2, 3, 64, 64)).shape == (2, numbers)


def test_vit_is_timms_without_the_last_layer():
    network = ViT(channels=3, grid=14, pooling="cls").eval()
    assert sum(each.numel() for each in network.parameters()) == 21_665_664  # vit_small_patch16_224, num_classes=0
    assert {"cls_token", "blocks.11.attn.qkv.bias", "blocks.0.mlp.fc1.weight"} <= set(network.state_dict())


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vit_takes_images_of_another_size(pooling):
    network = ViT(channels=1, grid=2, pooling=pooling).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 1, 32, 32)).shape == (2, 384)
        assert network(torch.rand(2, 1, 48, 48)).shape == (2, 384)
