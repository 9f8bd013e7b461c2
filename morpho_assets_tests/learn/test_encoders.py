"""The seam, over every encoder: fitting, encoding, the card, what is refused, and what training adds."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import load, save
from sklearn.neighbors import KNeighborsClassifier

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.crops import Scaling, fit_scaling, scale_crops
from morpho_assets.learn.encoders import Trained, fit_encoder, load_encoder, recognised, save_encoder
from morpho_assets.learn.kinds import ENCODERS, EncoderConfig
from morpho_assets.learn.networks.conv_vae import ConvVae
from morpho_assets.learn.networks.resnet import ResNet
from morpho_assets.learn.redrawn import redrawn_windows
from morpho_assets.learn.splits import split_by_group
from morpho_assets.learn.tensors import filled
from morpho_assets.learn.vae import VaeConfig
from morpho_assets_tests.learn.cells import SIDE, two_populations

CHANNELS = ("DNA", "RNA")
QUICK = {
    "imagenet": {"size": 32, "block": 5},
    "patches": {"shrink": 1, "entries": 12},
    "file": {"architecture": "resnet18", "size": 32},
    "vae": {"latent": 3, "epochs": 2, "batch": 16, "shrink": 1},
    "supervised": {"architecture": "small", "size": 16, "epochs": 2},
    "weakly_supervised": {"size": 32, "block": 3, "epochs": 2},
    "contrastive": {"size": 32, "block": 3, "epochs": 2, "as_images": "bag"},
}
COMMON = {"crop_size": SIDE, "device": "cpu", "scaling": "training"}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        path = tmp_path_factory.mktemp("weights") / "resnet.pt"
        torch.save(ResNet("resnet18", 3).state_dict(), path)
    return str(path)


@pytest.fixture(params=ENCODERS)
def config(request, weights_file) -> EncoderConfig:
    path = {"path": weights_file} if request.param == "file" else {}
    return config_of(request.param, **path)


def config_of(kind: str, **settings: object) -> EncoderConfig:
    return TypeAdapter(EncoderConfig).validate_python({"kind": kind, **COMMON, **QUICK[kind], **settings})


def windows(n: int, seed: int) -> tuple[Cells, np.ndarray]:
    crops, population = two_populations(n, seed)
    return Cells(crops, CHANNELS, own=crops[:, 0] > 0.3, plates=np.full(n, "P1")), population


def fitted(config: EncoderConfig, n: int = 60, seed: int = 3) -> Trained:
    cells, _ = windows(n, seed)
    drugs = 4 if config.kind == "contrastive" else 2  # which holds out one of them, and learns from the others
    wells = [f"P1 A{number % (2 * drugs):02d}" for number in range(n)]
    return fit_encoder(config, cells, labels=[f"drug {number % drugs}" for number in range(n)], groups=wells)


@lru_cache
def trained(untrained: bool) -> Trained:
    return fitted(config_of("vae", latent=8, epochs=30, invariant=False, untrained=untrained), 600, seed=0)


def separation(encoder: Trained, labels: np.ndarray | None = None) -> float:
    """Share of unseen cells whose 10 nearest neighbours among others name their population; chance is 0.5."""
    cells, population = windows(500, seed=1)
    population = population if labels is None else labels
    embedding = encoder.encode(cells)
    scaled = (embedding - embedding.mean(axis=0)) / embedding.std(axis=0)
    return KNeighborsClassifier(10).fit(scaled[:300], population[:300]).score(scaled[300:], population[300:])


def test_training_separates_populations_better_than_the_untrained_network():
    untrained, after = separation(trained(True)), separation(trained(False))
    assert untrained > 0.6  # above the chance of 0.5: a baseline that is not a straw man
    assert after > 0.95
    assert after > untrained + 0.1


def test_reconstruction_beats_the_mean_image():
    encoder = trained(False)
    inputs, config = encoder.card.inputs, encoder.card.config
    scaling = Scaling(inputs.low, inputs.high)
    mean_image = scale_crops(windows(600, seed=0)[0].crops, scaling).mean(axis=0)
    unseen = scale_crops(windows(100, seed=2)[0].crops, scaling)
    network = filled(
        lambda: ConvVae(len(CHANNELS), config.side, config.latent, config.beta), encoder.weights, torch.device("cpu")
    )
    with torch.inference_mode():
        decoded = network.decode(network(torch.from_numpy(unseen))).numpy()
    error, of_mean = (((unseen - other) ** 2).mean(axis=(0, 2, 3)) for other in (decoded, mean_image))
    assert (error < 0.6 * of_mean).all(), f"per channel: {error} against {of_mean}"


def test_a_dictionary_separates_populations():
    assert separation(fitted(config_of("patches"), 300)) > 0.8


def test_permuted_labels_are_at_chance(config):
    """An encoder that let a label through its vectors would find even a permuted one again on unseen cells."""
    labels = np.random.default_rng(9).integers(0, 2, 500)
    assert 0.38 < separation(fitted(config), labels) < 0.62  # 200 cells: 0.5 +- 3.4 standard errors


@pytest.mark.parametrize(("kind", "told"), [*((kind, {}) for kind in ENCODERS), ("vae", {"condition": "treatment"})])
def test_permuted_treatments_are_at_chance_on_wells_held_out(kind, told, weights_file):
    """Wells bear permuted treatments, which the encoder is given with all cells, those that are scored among them. A
    classifier of half of the wells names the others' treatments by chance, unless labels leaked into the embeddings.
    Over draws, for wells of one treatment are alike by chance."""
    shares = []
    if kind == "contrastive":
        told = {"validate_on": "wells"}
    config = config_of(kind, **told, **({"path": weights_file} if kind == "file" else {}))
    for seed in range(6):
        cells, _ = windows(120, seed=20 + seed)
        wells = np.arange(120) % 24
        treatment = np.random.default_rng(seed).permutation(np.arange(24) % 2)[wells]
        encoder = fit_encoder(config, cells, [f"drug {each}" for each in treatment], [f"P1 {well}" for well in wells])
        assert bool(encoder.card.seen.labels) == config.uses_labels
        found = encoder.encode(cells)
        scaled = (found - found.mean(axis=0)) / np.maximum(found.std(axis=0), 1e-6)
        train = wells < 12
        model = KNeighborsClassifier(5).fit(scaled[train], treatment[train])
        shares.append(model.score(scaled[~train], treatment[~train]))
    assert 0.35 < np.mean(shares) < 0.65  # 72 wells: 0.5 +- 2.5 standard errors


def test_every_encoder_repeats_itself(config):
    cells, _ = windows(20, seed=6)
    first, again = fitted(config), fitted(config)
    np.testing.assert_array_equal(first.encode(cells), again.encode(cells))
    assert first.card == again.card


def test_fitting_leaves_the_callers_randomness_alone(config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(config)
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("untrained", [False, True])
def test_a_card_and_weights_suffice_to_encode(config, untrained):
    encoder = fitted(config.model_copy(update={"untrained": untrained}))
    card, weights = save_encoder(encoder)
    loaded = load_encoder(card, weights)
    cells, _ = windows(20, seed=6)
    found = loaded.encode(cells)
    np.testing.assert_array_equal(found, encoder.encode(cells))
    assert found.shape == (20, encoder.card.numbers)
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0).max() > 0
    assert save_encoder(loaded) == (card, weights)


def test_an_untrained_twin_is_another_network_of_the_same_size(config):
    plain, twin = fitted(config), fitted(config.model_copy(update={"untrained": True}))
    assert shapes(plain) == shapes(twin)
    assert plain.card.sha256 != twin.card.sha256
    assert plain.card.drawn_seed is None
    assert twin.card.drawn_seed in (0, 1, 2)
    assert twin.card.seen.split == "none"


def shapes(encoder: Trained) -> dict[str, tuple[int, ...]]:
    """Of what embeds: no head that names treatments, and no components, which are as many as there are windows."""
    of = encoder.weights.items()
    return {name: each.shape for name, each in of if not name.startswith(("head.", "class_", "components."))}


def test_the_card_says_what_it_must_be_given_and_what_it_has_seen(config):
    card = json.loads(save_encoder(fitted(config))[0])
    assert card["inputs"]["channels"] == ["DNA", "RNA"]
    assert card["inputs"]["crop_size"] == SIDE
    assert card["seen"]["plates"] == ["P1"]
    assert card["seen"]["wells"] == [f"P1 A{number:02d}" for number in range(8 if config.kind == "contrastive" else 4)]
    assert bool(card["seen"]["labels"]) == config.uses_labels
    assert card["config"]["kind"] == card["kind"] == config.kind
    assert {"morpho-assets", "torch", "numpy"} <= set(card["versions"])
    assert card["licence"]


def test_channels_are_taken_by_name_and_others_are_refused(config):
    encoder = fitted(config)
    cells, _ = windows(5, seed=6)
    turned = Cells(cells.crops[:, ::-1].copy(), ("RNA", "DNA"), cells.own)
    np.testing.assert_allclose(encoder.encode(turned), encoder.encode(cells), atol=1e-6)
    with pytest.raises(InputError, match=r"channel RNA.*found DNA, ER"):
        encoder.encode(Cells(cells.crops, ("DNA", "ER"), cells.own))
    with pytest.raises(InputError, match="windows of 24 x 24"):
        encoder.encode(Cells(cells.crops[:, :, :16, :16], CHANNELS, None))


def test_edges_of_encoding(config):
    encoder = fitted(config)
    cells, _ = windows(300, seed=4)
    assert encoder.encode(cells[:0]).shape == (0, encoder.card.numbers)
    whole = encoder.encode(cells)
    np.testing.assert_allclose(encoder.encode(cells[:1]), whole[:1], atol=1e-4 * np.abs(whole).max())
    crops = cells.crops[:3].copy()
    crops[1, 0, 0, 0] = np.nan
    embedding = encoder.encode(Cells(crops, CHANNELS, cells.own[:3]))
    assert np.isnan(embedding[1]).all()
    assert np.isfinite(embedding[[0, 2]]).all()


def test_constant_crops_are_fitted_and_encoded_to_finite_numbers(config):
    cells = Cells(np.full((10, 2, SIDE, SIDE), 0.3, dtype=np.float32), CHANNELS, np.zeros((10, SIDE, SIDE), bool))
    cells = Cells(np.tile(cells.crops, (4, 1, 1, 1)), CHANNELS, np.tile(cells.own, (4, 1, 1)))
    wells = np.arange(40) % 8
    encoder = fit_encoder(config, cells, [f"drug {well % 4}" for well in wells], wells)
    assert np.isfinite(encoder.encode(cells)).all()


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_cells_are_refused(config, n):
    with pytest.raises(InputError, match="at least 2 cells"):
        fit_encoder(config, windows(4, 0)[0][:n])


def test_only_training_wells_fit_anything():
    """Cells of the wells that validate are spoilt: weights, scaling and components stay as they are."""
    for kind in ("imagenet", "patches"):
        cells, _ = windows(60, seed=3)
        wells = np.array([f"P1 A{number % 4:02d}" for number in range(60)])
        encoder = fit_encoder(config_of(kind), cells, groups=wells)
        held = split_by_group(60, wells, encoder.card.config.validation, 0).validation
        cells.crops[held] = 7.0
        again = fit_encoder(config_of(kind), cells, groups=wells)
        assert again.card.sha256 == encoder.card.sha256


def test_each_plate_is_scaled_by_its_own_controls(config):
    """Two plates, one of twice the light: with each one's scaling, cells of both get the same embedding."""
    config = config.model_copy(update={"scaling": "controls"})
    cells, _ = windows(40, seed=3)
    both = Cells(np.concatenate([cells.crops, 2 * cells.crops]), CHANNELS, np.concatenate([cells.own, cells.own]),
                 np.repeat(["P1", "P2"], 40))  # fmt: skip
    scalings = {name: fit_scaling(both.crops[both.plates == name], (1, 99)) for name in ("P1", "P2")}
    wells = np.arange(80) % 8
    encoder = fit_encoder(config, both, [f"drug {well % 4}" for well in wells], wells, scalings=scalings)
    first, second = encoder.encode(both[:40], scalings["P1"]), encoder.encode(both[40:], scalings["P2"])
    np.testing.assert_allclose(first, second, atol=2e-3 * np.abs(first).max())
    with pytest.raises(InputError, match="no scaling; expected that of the plate's controls"):
        encoder.encode(both)


def test_what_was_held_out_is_recorded():
    assert trained(False).card.seen.split == "group"
    assert (
        trained(False).card.seen.validation_wells == ("P1 A00",) or len(trained(False).card.seen.validation_wells) == 1
    )
    assert fit_encoder(config_of("vae"), windows(20, 0)[0]).card.seen.split == "cell"
    assert fitted(config_of("patches")).card.seen.split == "none"


def test_history_is_reported_and_kept():
    epochs: list[tuple[int, float, float]] = []
    encoder = fit_encoder(config_of("vae"), windows(40, 0)[0], progress=lambda *losses: epochs.append(losses))
    losses = encoder.card.losses
    assert epochs == [(i + 1, t, v) for i, (t, v) in enumerate(zip(losses.train, losses.validation, strict=True))]
    assert losses.best_epoch == int(np.argmin(losses.validation)) + 1


def test_early_stopping_keeps_the_best_epoch():
    """Noise has nothing to learn: the validation loss soon rises, and training stops before its 200 epochs."""
    noise = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)
    training = {"epochs": 200, "batch": 8, "learning_rate": 1e-2, "device": "cpu", "scaling": "training"}
    config = VaeConfig(crop_size=8, shrink=1, latent=8, **training)
    losses = fit_encoder(config, Cells(noise, ("DNA",))).card.losses
    assert len(losses.validation) < 200
    assert losses.best_epoch == len(losses.validation) - config.patience


@pytest.mark.parametrize("invariant", [True, False])
def test_turned_cells(invariant):
    cells, _ = windows(10, seed=0)
    encoder = fit_encoder(config_of("vae", invariant=invariant), cells)
    turned = Cells(np.ascontiguousarray(np.rot90(cells.crops, axes=(2, 3))), CHANNELS)
    assert encoder.card.numbers == (6 if invariant else 3)
    assert np.allclose(encoder.encode(cells), encoder.encode(turned), atol=1e-5) == invariant


def test_a_conditional_vae_is_told_and_says_so():
    encoder = fitted(config_of("vae", condition="treatment"))
    assert encoder.card.seen.labels == ("drug 0", "drug 1")
    assert encoder.weights["decoder.0.weight"].shape[1] == 3 + 2
    assert load_encoder(*save_encoder(encoder)).encode(windows(4, 0)[0]).shape == (4, 6)
    assert fitted(config_of("vae", condition="plate")).card.seen.labels == ()
    with pytest.raises(InputError, match="cells without a treatment"):
        fit_encoder(config_of("vae", condition="treatment"), windows(10, 0)[0])


def test_grey_and_mask_are_all_that_such_a_vae_sees():
    encoder = fitted(config_of("vae", sees="grey_mask"))
    cells, _ = windows(10, seed=0)
    swapped = Cells(cells.crops, CHANNELS, cells.own)
    low, high = encoder.card.inputs.low, encoder.card.inputs.high
    span = np.array([high[i] - low[i] for i in (0, 1)], np.float32)[:, None, None]
    scaled = np.clip((cells.crops - np.array(low, np.float32)[:, None, None]) / span, 0, 1)[:, ::-1]
    swapped = Cells(scaled * span + np.array(low, np.float32)[:, None, None], CHANNELS, cells.own)
    np.testing.assert_allclose(encoder.encode(swapped), encoder.encode(cells), atol=1e-4)
    with pytest.raises(InputError, match="own_pixels"):
        encoder.encode(Cells(cells.crops, CHANNELS))


def test_halves_of_wells_recognise_each_other_by_hand():
    groups = np.repeat(["A", "B"], 4)
    apart = np.array([[0, 1], [0, 1.1], [0, 0.9], [0, 1], [1, 0], [1.1, 0], [1, 0], [0.9, 0]])
    assert recognised(apart, groups) == 1
    assert recognised(apart[[0, 1, 4, 5, 4, 5, 0, 1]][[0, 2, 1, 3, 4, 6, 5, 7]], groups) < 1
    assert recognised(apart, None) == recognised(apart, np.repeat("A", 8)) == 0


def test_cells_beyond_the_maximum_are_left_out():
    assert fitted(config_of("patches", max_cells=12)).card.seen.cells == 12


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match="no GPU that torch can use"):
        fitted(config_of("patches", device="cuda"))
    with pytest.raises(InputError, match="device"):
        load_encoder(*save_encoder(fitted(config_of("patches"))), device="cuda")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "vae", "crop_size": 20}, {"kind": "vae", "crop_size": 24, "shrink": 2}, {"kind": "resnet"},
        {"kind": "patches", "percentiles": (60, 40)}, {"kind": "vae", "latents": 3}, {"kind": "vae", "epochs": -1},
        {"kind": "file", "path": "x", "architecture": "vit_s16", "size": 100}, {"kind": "imagenet", "shrink": 7},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(EncoderConfig).validate_python(wrong)


def _changed(part: str, value: object) -> tuple[bytes, bytes]:
    card, weights = save_encoder(trained(True))
    return json.dumps({**json.loads(card), part: value}).encode(), weights


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (lambda: (b"", b""), "no card"),
        (lambda: (b"not a card", b""), "no card"),
        (lambda: (b'{"format": "another"}', b""), "no card"),
        (lambda: (save_encoder(trained(True))[0], b"not safetensors"), "cannot be read"),
        (lambda: (save_encoder(trained(True))[0], save_encoder(trained(True))[1][:5000]), "cannot be read"),
        (lambda: _changed("config", {**trained(True).card.config.model_dump(), "latent": 9}), "sha256"),
        (lambda: (save_encoder(trained(True))[0], save({"head.bias": np.zeros(3, np.float32)})), "sha256"),
    ],
    ids=["empty", "text", "other", "weights", "cut short", "settings", "other weights"],
)
def test_wrong_files_are_named(files, found):
    with pytest.raises(InputError, match=found) as error:
        load_encoder(*files(), file="card.json")
    assert "card.json" in str(error.value)


def test_the_file_of_weights_holds_arrays_alone():
    assert set(load(save_encoder(trained(True))[1])) == set(trained(True).weights)


def test_importing_the_seam_loads_neither_torch_nor_sklearn():
    code = "import morpho_assets.learn.encoders, sys; print({'torch', 'sklearn'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == "set()"


def test_windows_and_what_an_autoencoder_makes_of_them_are_a_picture():
    """Of eight windows that were held out, side by side, each channel above what is made of it."""
    encoder, (cells, _) = trained(False), windows(600, seed=0)
    picture = redrawn_windows(encoder, cells, [f"P1 A{number % 4:02d}" for number in range(600)], {})
    assert picture is not None
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))), np.float32) / 255
    assert grey.shape == (2 * len(CHANNELS) * SIDE, 8 * SIDE)
    rows = np.split(grey, 2 * len(CHANNELS))
    for seen, made in zip(rows[::2], rows[1::2], strict=True):
        assert np.corrcoef(seen.ravel(), made.ravel())[0, 1] > 0.7
    assert redrawn_windows(fitted(config_of("patches")), cells, ["w"] * 600, {}) is None
