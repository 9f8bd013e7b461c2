"""EfficientNet-Lite0 with the packaged weights names what photographs show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional

from morpho_assets.learn.imagenet import packaged_weights
from morpho_assets.learn.networks.lite0 import BLOCKS, Lite0, widths
from morpho_assets.learn.tensors import filled


@pytest.mark.parametrize(
    ("photograph", "category"),
    [(data.cat, 285), (data.coffee, 967), (data.rocket, 657)],
    ids=["cat", "coffee", "rocket"],
)
def test_photographs_are_named(photograph, category):
    """The categories of ImageNet: 285 Egyptian cat, 967 espresso, 657 missile."""
    weights = {name: torch.from_numpy(np.array(array)) for name, array in packaged_weights().items()}
    network = Lite0(BLOCKS - 1)
    network.load_state_dict({name: array for name, array in weights.items() if name in network.state_dict()})
    network.eval()
    image = photograph()
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    image = torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None] / 255
    image = functional.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        maps = network._blocks[-1](network.trunk(2 * image - 1))
        maps = functional.conv2d(maps, weights["_conv_head.weight"])
        statistics = [weights[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        pooled = functional.relu6(functional.batch_norm(maps, *statistics, eps=1e-3)).mean(dim=(2, 3))
        scores = pooled @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert scores.argmax().item() == category


@pytest.mark.parametrize("last", [1, 7, 11])
def test_folding_batch_normalisation_changes_no_number(last):
    network = Lite0(last).eval()
    weights = {name: array for name, array in packaged_weights().items() if name in network.state_dict()}
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        expected = network(images)
        folded = filled(lambda: Lite0(last), weights, torch.device("cpu"))(images)
    assert expected.shape == (2, widths(last))
    torch.testing.assert_close(folded, expected, rtol=1e-3, atol=1e-4)


def test_the_block_of_the_paper_gives_672_numbers():
    assert widths(11) == 672
