"""Encoders that are told treatments: what they start from, what they learn from, how well they name it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import save_file

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.classifier import accuracies
from morpho_assets.learn.contrastive import paired
from morpho_assets.learn.encoders import Trained, fit_encoder
from morpho_assets.learn.imagenet import packaged_weights
from morpho_assets.learn.kinds import STARTED, UNTRAINED, EncoderConfig, twins_of
from morpho_assets.learn.networks.labelled import contrast
from morpho_assets.learn.networks.resnet import ResNet
from morpho_assets.learn.verdict import CONSTANT, LEARNED, NOT_TRAINED, NOTHING
from morpho_assets_tests.learn.cells import SIDE, two_populations

CHANNELS = ("DNA", "RNA")
SMALL = {"kind": "supervised", "architecture": "small", "size": 32, "epochs": 6, "learning_rate": 3e-3}
COMMON = {"crop_size": SIDE, "device": "cpu", "scaling": "training"}


def read(**settings: Any) -> EncoderConfig:
    return TypeAdapter(EncoderConfig).validate_python({**COMMON, **settings})


def lesson(n: int, seed: int = 0, plates: int = 2) -> tuple[Cells, list[str], list[str]]:
    """Windows of two populations; of each its treatment, and its well, which holds one population."""
    crops, population = two_populations(n, seed)
    plate = np.arange(n) % plates
    cells = Cells(crops, CHANNELS, plates=np.array([f"P{each}" for each in plate]))
    pairs = enumerate(zip(plate, population, strict=True))
    wells = [f"P{each} {'AB'[of]}{number // plates % 3}" for number, (each, of) in pairs]
    return cells, [f"drug {each}" for each in population], wells


def fitted(n: int = 240, **settings: Any) -> Trained:
    cells, treatments, wells = lesson(n)
    return fit_encoder(read(**settings), cells, treatments, wells)


def test_a_small_network_names_two_populations():
    card = fitted(**SMALL).card
    assert card.verdict == LEARNED
    assert card.classes == card.seen.labels == ("drug 0", "drug 1")
    assert card.scores["balanced_accuracy"] > 0.9
    assert card.scores["chance"] == 0.5
    assert card.losses.trivial == pytest.approx(np.log(2), rel=1e-6)
    assert min(card.losses.validation) < card.losses.trivial


def test_permuted_treatments_are_named_by_chance_on_wells_held_out():
    """Every well bears one permuted treatment: what is learned of training wells says nothing of those held out."""
    found = []
    for seed in range(4):
        crops, _ = two_populations(240, seed)
        well = np.arange(240) % 24
        drug = np.random.default_rng(seed).permutation(np.arange(24) % 2)[well]
        cells = Cells(crops, CHANNELS, plates=np.full(240, "P"))
        config = read(**{**SMALL, "validation": 0.4, "seed": seed})
        card = fit_encoder(config, cells, [f"drug {each}" for each in drug], [f"P {each}" for each in well]).card
        found.append(card.scores["balanced_accuracy"])
    assert 0.38 < np.mean(found) < 0.62  # 4 x 90 cells: 0.5 +- 4 standard errors


def test_a_starved_network_is_told_so():
    """A step so small that nothing is learned; and one so large that all are given one name."""
    assert fitted(**{**SMALL, "learning_rate": 1e-12, "epochs": 1}).card.verdict in (NOTHING, CONSTANT)
    assert fitted(**{**SMALL, "learning_rate": 1e3, "clip": 1e9, "epochs": 1}).card.verdict == CONSTANT


@pytest.mark.parametrize("kind", ["supervised", "weakly_supervised", "contrastive"])
def test_no_epochs_are_the_weights_that_it_starts_from(kind):
    settings = {"kind": kind, "block": 3, "size": 32, "epochs": 0, "components": None}
    started = fitted(**settings, as_images="bag")
    assert (started.card.verdict, started.card.seen.labels, started.card.classes) == (NOT_TRAINED, (), ())
    frozen = fitted(kind="imagenet", block=3, size=32, components=None)
    cells, *_ = lesson(10, seed=4)
    np.testing.assert_allclose(started.encode(cells), frozen.encode(cells), rtol=1e-4, atol=1e-5)


def test_a_stack_of_equal_channels_starts_as_a_grey_photograph():
    """Scaled weights of three colours see two equal channels as they see a grey photograph."""
    crops, _ = two_populations(20, 0)
    cells = Cells(np.repeat(crops[:, :1], 2, axis=1), ("a", "b"))
    settings = {"block": 3, "size": 32, "components": None}
    stack = fit_encoder(read(kind="supervised", epochs=0, **settings), cells).encode(cells)
    grey = fit_encoder(read(kind="imagenet", channels=["a"], **settings), cells).encode(cells)
    np.testing.assert_allclose(stack, grey, rtol=1e-3, atol=1e-4)


def test_a_file_of_weights_is_where_it_starts(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weights = {name: each.numpy() for name, each in ResNet("resnet18", 3).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    given = {"kind": "supervised", "architecture": "resnet18", "start": "file", "size": 32, "as_images": "bag"}
    started = fitted(60, **given, path=str(tmp_path / "weights.safetensors"), epochs=0)
    np.testing.assert_array_equal(started.weights["trunk.conv1.weight"], weights["conv1.weight"])
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"no conv1\.weight"):
        fitted(60, **given, path=str(tmp_path / "other.safetensors"), epochs=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "small", "start": "imagenet"}, "weights of lite0"),
        ({"start": "file"}, "belong together"),
        ({"path": "weights.pt"}, "belong together"),
        ({"architecture": "small", "start": "file", "path": "weights.pt"}, "from scratch"),
        ({"validate_on": "treatments"}, "validate_on"),
    ],
)
def test_starts_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        read(kind="supervised", **settings)


def test_twins_are_the_untrained_network_and_the_weights_it_starts_from():
    plain = {"kind": "weakly_supervised", **COMMON}
    twins = twins_of(plain)
    assert set(twins) == {UNTRAINED, STARTED}
    assert twins[STARTED]["epochs"] == 0
    assert twins[UNTRAINED]["untrained"] is True
    assert set(twins_of({**SMALL, **COMMON})) == {UNTRAINED}
    assert set(twins_of({"kind": "vae", **COMMON, "shrink": 1})) == {UNTRAINED}
    assert twins_of({**plain, "twin": False}) == twins_of(twins[STARTED]) == twins_of({"kind": "unknown"}) == {}


def test_one_treatment_is_none_to_learn_from():
    cells, _, wells = lesson(40)
    with pytest.raises(InputError, match="1 to learn from"):
        fit_encoder(read(**SMALL), cells, ["drug"] * 40, wells)


def test_contrast_needs_two_wells_of_a_treatment():
    cells, *_ = lesson(60)
    drugs = [f"drug {number % 4}" for number in range(60)]
    settings = read(kind="contrastive", block=3, size=32, epochs=1)
    with pytest.raises(InputError, match=r"training pairs: found no treatment with two wells"):
        fit_encoder(settings, cells, drugs, [f"P {each}" for each in drugs])


def test_accuracies_by_hand():
    logits = np.array([[2.0, 1, 0], [0, 1, 2], [3, 0, 1], [0, 5, 1]])
    found = accuracies(logits, np.array([0, 2, 1, 1]))
    assert found == {"top_1": 0.75, "top_5": 1.0, "balanced_accuracy": pytest.approx((1 + 1 + 0.5) / 3),
                     "most_named": 0.5, "majority": 0.5}  # fmt: skip
    ranks = accuracies(np.arange(7.0)[None].repeat(7, axis=0), np.arange(7))
    assert ranks["top_5"] == pytest.approx(5 / 7)


def test_the_contrastive_loss_by_hand():
    """Two treatments on two plates, each in two wells; unit vectors, so that the similarity is their angle's cosine."""
    vectors = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    targets = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 2, 0], [1, 3, 1]])
    # Each has one positive, at right angles, and two negatives: one the same (1 / t), one at right angles (0).
    expected = -np.log(1 / (1 + np.exp(1 / 0.5) + 1))
    assert float(contrast(vectors, targets, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_windows_of_one_well_are_neither_alike_nor_apart():
    """The second window of each well changes nothing of what the first one is compared with."""
    rng = torch.Generator().manual_seed(0)
    vectors = torch.randn((4, 5), generator=rng)
    targets = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 2, 0], [1, 3, 1]])
    doubled, twice = vectors.repeat_interleave(2, 0), targets.repeat_interleave(2, 0)
    one = contrast(vectors, targets, 1.0)
    likeness = torch.nn.functional.normalize(vectors, dim=1) @ torch.nn.functional.normalize(vectors, dim=1).T
    each = []
    for row in range(4):
        positive = [other for other in range(4) if other != row and targets[other, 0] == targets[row, 0]]
        negative = [other for other in range(4) if targets[other, 0] != targets[row, 0]]
        share = torch.logsumexp(torch.cat([likeness[row, positive], likeness[row, negative]]), 0)
        each.append(share - likeness[row, positive[0]])
    assert float(one) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)
    assert float(contrast(doubled, twice, 1.0)) == pytest.approx(float(one) + np.log(2), rel=1e-4)
    moved = doubled.clone()
    moved[1] = 100 * torch.randn(5, generator=rng)  # a fellow of row 0's well
    own = lambda found: torch.autograd.grad(contrast(found, twice, 1.0), found)[0]  # noqa: E731
    assert torch.isfinite(own(moved.requires_grad_())).all()


def test_no_positive_costs_nothing():
    vectors = torch.randn((3, 4), requires_grad=True)
    loss = contrast(vectors, torch.tensor([[0, 0, 0], [1, 1, 0], [2, 2, 0]]), 0.1)
    assert float(loss.detach()) == 0
    loss.backward()
    assert (vectors.grad == 0).all()


@pytest.mark.parametrize("plates", [1, 3])
def test_partners_lie_in_another_well_and_on_another_plate_if_there_is_one(plates):
    rng = np.random.default_rng(0)
    n = 200
    plate, drug = rng.integers(0, plates, n), rng.integers(0, 4, n)
    well = 100 * plate + 10 * drug + rng.integers(0, 2, n)
    targets = np.stack([drug, well, plate], axis=1)
    dealt = paired(np.arange(n), rng, targets, 17)
    assert all(len(rows) == 16 for rows in dealt[:-1])
    rows = np.concatenate(dealt)
    assert abs(len(rows) - n) < 2
    first, partner = targets[rows[::2]], targets[rows[1::2]]
    assert (first[:, 0] == partner[:, 0]).all()
    assert (first[:, 1] != partner[:, 1]).all()
    if plates > 1:
        assert (first[:, 2] != partner[:, 2]).all()
    counts = np.bincount(first[:, 0])
    assert counts.max() - counts.min() <= 1  # treatments in turn


def test_every_weight_of_the_trunk_is_taken():
    start = fitted(60, kind="supervised", block=3, size=32, epochs=0)
    taken = {name.removeprefix("trunk."): array for name, array in start.weights.items() if name.startswith("trunk.")}
    given = packaged_weights()
    for name, array in taken.items():
        if name != "_conv_stem.weight":
            np.testing.assert_array_equal(array, given[name])
