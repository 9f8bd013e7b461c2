"""Heat maps of networks whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.encoders import fit_encoder
from morpho_assets.learn.heat import heat_maps, scored_by, scores
from morpho_assets.learn.kinds import EncoderConfig
from morpho_assets.learn.networks.scored import Named
from morpho_assets_tests.learn.cells import SIDE, two_populations

CPU = torch.device("cpu")
METHODS = ("grad_cam", "integrated_gradients", "occlusion")
KINDS: dict[str, dict[str, Any]] = {
    "supervised": {"architecture": "small", "size": 32, "epochs": 1},
    "weakly_supervised": {"block": 3, "size": 32, "epochs": 0, "as_images": "bag"},
    "imagenet": {"block": 3, "size": 32},
    "vae": {"shrink": 1, "epochs": 1, "invariant": False, "sees": "grey_mask"},
    "patches": {"shrink": 1, "entries": 8},
}


class Corner(nn.Module):
    """Its only number is the light of the upper left quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Identity()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        maps = self.maps(crops)
        return maps[:, :, : SIDE // 2, : SIDE // 2].mean(dim=(1, 2, 3))[:, None]


def fitted(kind: str, n: int = 60) -> tuple[Any, Cells]:
    crops, population = two_populations(n, 0)
    own = np.zeros((n, SIDE, SIDE), bool)
    own[:, 4:-4, 4:-4] = True
    cells = Cells(crops, ("DNA", "RNA"), own, np.full(n, "P"))
    given = {"kind": kind, "crop_size": SIDE, "device": "cpu", "scaling": "training", **KINDS[kind]}
    config = TypeAdapter(EncoderConfig).validate_python(given)
    wells = [f"P {'AB'[of]}{number % 3}" for number, of in enumerate(population)]
    return fit_encoder(config, cells, [f"drug {each}" for each in population], wells), cells


def test_all_heat_of_integrated_gradients_and_occlusion_lies_where_the_score_comes_from():
    """Integrated gradients of a linear score are its terms: light times weight."""
    crops = np.random.default_rng(0).uniform(0.2, 1, (5, 2, SIDE, SIDE)).astype(np.float32)
    scored = Named(Corner(), np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    ways = heat_maps(scored, crops, None, np.zeros(5, np.int64), "integrated_gradients", None, CPU)
    half = SIDE // 2
    light = crops.sum(axis=1)[:, :half, :half]
    np.testing.assert_allclose(ways[:, :half, :half], light / light.max(axis=(1, 2), keepdims=True), rtol=1e-4)
    assert not ways[:, half:].any()
    assert not ways[:, :, half:].any()
    hidden = heat_maps(scored, crops, None, np.zeros(5, np.int64), "occlusion", None, CPU)
    assert hidden[:, : half - 3, : half - 3].min() > 0.1
    assert hidden[:, half + 3 :].max() < 1e-5


def test_grad_cam_weighs_maps_by_their_mean_gradient():
    """One map, a score that rises with all of it: the map itself."""

    class Mean(Corner):
        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            return self.maps(crops).mean(dim=(1, 2, 3))[:, None]

    crops = np.random.default_rng(0).uniform(0, 1, (3, 1, SIDE, SIDE)).astype(np.float32)
    scored = Named(Mean(), np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    found = heat_maps(scored, crops, None, np.zeros(3, np.int64), "grad_cam", None, CPU)
    np.testing.assert_allclose(found, crops[:, 0] / crops[:, 0].max(axis=(1, 2), keepdims=True), rtol=1e-5)
    against = Named(Mean(), -np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    assert not heat_maps(against, crops, None, np.zeros(3, np.int64), "grad_cam", None, CPU).any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoder_can_be_asked(kind):
    """Scores are the encoder's own: a head's logits, or the cosine to mean embeddings that `encode` gives."""
    trained, cells = fitted(kind)
    taken = trained.scaled(cells[:6])
    embeddings = trained.encode(cells)
    means = np.stack([embeddings[:30].mean(axis=0), embeddings[30:].mean(axis=0)])
    scored, by_head = scored_by(trained, means, CPU)
    assert by_head == (kind == "supervised")
    found = scores(scored, taken.crops, taken.own, CPU)
    if not by_head:
        unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (embeddings[:6], means)]
        np.testing.assert_allclose(found, unit[0] @ unit[1].T, atol=2e-3)
    for method in METHODS if kind != "patches" else ("occlusion",):
        heat = heat_maps(scored, taken.crops, taken.own, found.argmax(axis=1), method, None, CPU)
        assert heat.shape == (6, SIDE, SIDE)
        assert np.isfinite(heat).all()
        assert heat.min() >= 0
        assert heat.max() == pytest.approx(1)


def test_layers_and_methods_that_cannot_be_are_refused():
    trained, cells = fitted("supervised")
    scored, _ = scored_by(trained, np.zeros((2, 64), np.float32), CPU)
    given = scored, trained.scaled(cells[:2]).crops, None, np.zeros(2, np.int64)
    assert heat_maps(*given, "grad_cam", "trunk.conv1", CPU).shape == (2, SIDE, SIDE)
    with pytest.raises(InputError, match=r"Did you mean trunk\.conv1"):
        heat_maps(*given, "grad_cam", "trunk.cnv1", CPU)
    patches, cells = fitted("patches")
    scored, _ = scored_by(patches, np.zeros((2, patches.card.numbers), np.float32), CPU)
    taken = patches.scaled(cells[:2])
    with pytest.raises(InputError, match="no gradients"):
        heat_maps(scored, taken.crops, taken.own, np.zeros(2, np.int64), "grad_cam", None, CPU)
