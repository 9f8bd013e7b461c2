from __future__ import annotations

import io
import pickle
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.neighbors import KNeighborsClassifier

from morpho_assets.errors import InputError
from morpho_assets.learn.crops import scale_crops
from morpho_assets.learn.encoders import (
    ENCODERS,
    EncoderConfig,
    TrainedEncoder,
    load_encoder,
    save_encoder,
    train_encoder,
)
from morpho_assets_tests.learn.cells import SIDE, two_populations

SMALL = EncoderConfig(crop_size=SIDE, shrink=1, latent=8, epochs=15, batch=16, invariant=False, device="cpu")
QUICK = SMALL.model_copy(update={"epochs": 2, "latent": 3})


@lru_cache
def trained(name: str) -> TrainedEncoder:
    crops, _ = two_populations(600, seed=0)
    config = SMALL.model_copy(update={"name": name})
    return train_encoder(crops, config, np.arange(600) % 8, channels=["DNA", "RNA"], plates=["P1", "P2"])


def separation(encoder: TrainedEncoder) -> float:
    """Share of unseen cells whose 10 nearest neighbours among others name their population; chance is 0.5."""
    crops, population = two_populations(500, seed=1)
    embedding = encoder.encode(crops)
    scaled = (embedding - embedding.mean(axis=0)) / embedding.std(axis=0)
    return KNeighborsClassifier(10).fit(scaled[:300], population[:300]).score(scaled[300:], population[300:])


def test_training_separates_populations_better_than_the_untrained_network():
    untrained, after = separation(trained("random_init")), separation(trained("vae"))
    assert untrained > 0.6  # above the chance of 0.5: a baseline that is not a straw man
    assert after > 0.95
    assert after > untrained + 0.1


def test_reconstruction_beats_the_mean_image():
    encoder = trained("vae")
    seen, _ = two_populations(600, seed=0)
    unseen = scale_crops(two_populations(100, seed=2)[0], encoder.scaling)
    with torch.inference_mode():
        decoded = encoder.network.reconstruct(torch.from_numpy(unseen)).numpy()
    mean_image = scale_crops(seen, encoder.scaling).mean(axis=0)
    error, of_mean = (((unseen - other) ** 2).mean(axis=(0, 2, 3)) for other in (decoded, mean_image))
    assert (error < 0.6 * of_mean).all(), f"per channel: {error} against {of_mean}"


def test_what_was_held_out_is_recorded():
    assert trained("vae").split == "group"
    assert trained("random_init").split == "none"
    assert train_encoder(two_populations(20, 0)[0], QUICK).split == "cell"


def test_history_is_reported_and_kept():
    epochs: list[tuple[int, float, float]] = []
    encoder = train_encoder(two_populations(40, 0)[0], QUICK, progress=lambda *losses: epochs.append(losses))
    history = encoder.history
    assert epochs == [(i + 1, t, v) for i, (t, v) in enumerate(zip(history.train, history.validation, strict=True))]
    assert history.best_epoch == int(np.argmin(history.validation)) + 1


def test_early_stopping_keeps_the_best_epoch():
    """Noise has nothing to learn: the validation loss soon rises, and training stops before its 200 epochs."""
    noise = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)
    config = EncoderConfig(crop_size=8, shrink=1, latent=8, epochs=200, batch=8, learning_rate=1e-2, device="cpu")
    history = train_encoder(noise, config).history
    assert len(history.validation) < 200
    assert history.best_epoch == len(history.validation) - config.patience


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_repeats_itself(name):
    crops, _ = two_populations(60, seed=3)
    config = QUICK.model_copy(update={"name": name})
    first, again = (train_encoder(crops, config, np.arange(60) % 4) for _ in range(2))
    np.testing.assert_array_equal(first.encode(crops), again.encode(crops))
    assert first.sha256 == again.sha256
    other = train_encoder(crops, config.model_copy(update={"seed": 1}), np.arange(60) % 4)
    assert other.sha256 != first.sha256


@pytest.mark.parametrize("name", ENCODERS)
def test_training_leaves_the_callers_randomness_alone(name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_encoder(two_populations(20, 0)[0], QUICK.model_copy(update={"name": name}))
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_network_has_a_gradient_for_every_parameter(name):
    network = ENCODERS[name].build(QUICK, 2)
    crops = torch.from_numpy(two_populations(4, 0)[0])
    network.loss(crops, torch.Generator().manual_seed(0)).backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert not without
    assert network.embed(crops).shape == (4, QUICK.latent)


@pytest.mark.parametrize("invariant", [True, False])
def test_turned_cells(invariant):
    crops, _ = two_populations(10, seed=0)
    encoder = train_encoder(crops, QUICK.model_copy(update={"invariant": invariant}))
    straight, turned = encoder.encode(crops), encoder.encode(np.ascontiguousarray(np.rot90(crops, axes=(2, 3))))
    assert straight.shape == (10, encoder.config.dimensions) == (10, 6 if invariant else 3)
    assert np.allclose(straight, turned, atol=1e-5) == invariant


def test_edges_of_encoding():
    encoder = trained("random_init")
    crops, _ = two_populations(300, seed=4)
    assert encoder.encode(crops[:0]).shape == (0, 8)
    np.testing.assert_allclose(encoder.encode(crops[:1]), encoder.encode(crops)[:1], atol=1e-5)
    crops[1, 0, 0, 0] = np.nan
    embedding = encoder.encode(crops[:3])
    assert np.isnan(embedding[1]).all()
    assert np.isfinite(embedding[[0, 2]]).all()


def test_constant_crops_train_and_encode_to_finite_numbers():
    crops = np.full((10, 2, SIDE, SIDE), 0.3, dtype=np.float32)
    encoder = train_encoder(crops, QUICK)
    assert np.isfinite(encoder.history.train).all()
    assert np.isfinite(encoder.encode(crops)).all()


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_crops_to_train_are_refused(n):
    with pytest.raises(InputError, match="at least 2 crops"):
        train_encoder(np.zeros((n, 2, SIDE, SIDE), dtype=np.float32), QUICK)


def test_crops_of_another_shape_are_refused():
    with pytest.raises(InputError, match="n, 2, 24, 24"):
        trained("vae").encode(np.zeros((3, 5, SIDE, SIDE), dtype=np.float32))
    with pytest.raises(InputError, match="crop_size"):
        train_encoder(np.zeros((3, 2, 32, 32), dtype=np.float32), QUICK)


def test_cells_beyond_the_maximum_are_left_out():
    crops, _ = two_populations(50, seed=0)
    config = QUICK.model_copy(update={"max_cells": 12, "batch": 1, "name": "vae"})
    few = train_encoder(crops, config, np.arange(50) % 5)
    assert few.sha256 != train_encoder(crops, QUICK.model_copy(update={"batch": 1}), np.arange(50) % 5).sha256


def test_unknown_encoder_lists_the_known_ones():
    with pytest.raises(InputError, match="'resnet'; expected one of vae, random_init"):
        train_encoder(two_populations(4, 0)[0], QUICK.model_copy(update={"name": "resnet"}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match="no GPU that torch can use"):
        train_encoder(two_populations(4, 0)[0], QUICK.model_copy(update={"device": "cuda"}))
    with pytest.raises(InputError, match="device"):
        load_encoder(save_encoder(trained("random_init")), device="cuda")


@pytest.mark.parametrize(
    "wrong",
    [{"crop_size": 20}, {"crop_size": 24, "shrink": 2}, {"percentiles": (60, 40)}, {"latents": 3}, {"epochs": 0}],
    ids=str,
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        EncoderConfig(**wrong)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_file_suffices_to_encode(name):
    encoder = trained(name)
    data = save_encoder(encoder)
    loaded = load_encoder(data)
    crops, _ = two_populations(20, seed=6)
    np.testing.assert_array_equal(loaded.encode(crops), encoder.encode(crops))
    for part in ("config", "channels", "plates", "scaling", "split", "history", "sha256"):
        assert getattr(loaded, part) == getattr(encoder, part), part
    assert save_encoder(loaded) == data


def _other_torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def _changed(**parts: object) -> bytes:
    content = torch.load(io.BytesIO(save_encoder(trained("random_init"))), weights_only=True)
    buffer = io.BytesIO()
    torch.save({**content, **parts}, buffer)
    return buffer.getvalue()


class _Command:
    """What a hostile file would carry: unpickling it runs a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (lambda: b"", "cannot read"),
        (lambda: b"not a checkpoint", "cannot read"),
        (lambda: save_encoder(trained("random_init"))[:5000], "cannot read"),
        (lambda: pickle.dumps(_Command(), protocol=2), "cannot read"),
        (_other_torch_file, r"another file \(weight\)"),
        (lambda: _changed(channels=["DNA"]), "do not fit"),
        (lambda: _changed(config={"name": "vae", "depth": 3}), "do not fit"),
        (lambda: _changed(scaling={"low": (0.0, 0.0), "high": (1.0, 1.0)}), "sha256"),
    ],
    ids=["empty", "text", "cut short", "hostile", "other", "channels", "config", "tampered"],
)
def test_wrong_weights_are_named(data, found, capsys):
    with pytest.raises(InputError, match=found) as error:
        load_encoder(data(), file="weights.pt")
    assert str(error.value).startswith("weights.pt")
    assert not capsys.readouterr().out


def test_importing_the_seam_loads_no_torch():
    heavy = "{'torch', 'umap', 'sklearn'} & set(sys.modules)"
    code = f"import sys, morpho_assets.learn.encoders, morpho_assets.learn.projection; print({heavy})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_every_encoder_is_documented():
    page = Path(__file__).parents[2] / "docs" / "encoders.md"
    text = page.read_text()
    missing = [name for name in [*ENCODERS, *EncoderConfig.model_fields] if f"`{name}`" not in text]
    assert not missing
