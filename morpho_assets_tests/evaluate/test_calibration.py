"""The benchmark of calibration on a size that takes a second: what it draws, and what it makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import (
    Design,
    bias,
    chain,
    coverage,
    false_positives,
    found_by,
    intervals,
    loadings,
    noise,
    plates,
    power,
    study_of,
)
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.studies.model import SHIPPED

TINY = Design("demo", 2, 1, 6, 12, treatments=6)


def test_features_have_the_spectrum_of_real_controls() -> None:
    load = loadings(300)
    np.testing.assert_allclose((load**2).sum(axis=0), 1)
    shares = np.cumsum(np.linalg.svd(load, compute_uv=False) ** 2 / 300)
    assert shares[[0, 4, 19]] == pytest.approx([0.14, 0.41, 0.71], abs=0.12)


def test_plates_hold_what_was_asked_for() -> None:
    frame = plates(TINY, 0, effect=3.0)
    assert frame.height == 2 * (6 + 6)
    assert 0 < frame.filter("Metadata_active")["Metadata_Perturbation"].n_unique() < 6
    assert plates(TINY, 0).filter("Metadata_active").is_empty()
    assert frame.equals(plates(TINY, 0, effect=3.0))
    assert frame.select("Metadata_Plate", "Metadata_Well").is_unique().all()
    values = to_matrix(frame, feature_columns(frame))
    acting = frame["Metadata_active"].to_numpy()
    assert values[acting].std() > 1.5 * values[~acting].std()


@pytest.mark.parametrize("study", sorted(file.stem for file in SHIPPED.glob("*.yaml")))
def test_every_shipped_study_has_its_chain(study: str) -> None:
    assert chain(study_of(Design(study, 1, 4, 6, 20)))[0].name in ("normalize", "select", "well_position")


def test_runs_give_numbers_of_which_figures_are_made() -> None:
    runs = [noise(TINY, seed) for seed in range(3)]
    (mean, error) = bias(runs)["replicates"]
    assert abs(mean) < 6 * error + 0.1
    assert 0 <= false_positives(runs)["replicates"][0] <= 1
    ((inside, width),) = [coverage([intervals(TINY, seed) for seed in range(3)])["mAP"]]
    assert 0 <= inside <= 1
    assert width > 0
    auroc, hits = found_by([power(TINY, seed) for seed in range(3)], "matched")
    assert 0 <= auroc <= 1
    assert 0 <= hits <= 1


def test_figures_by_hand() -> None:
    runs = [{"a gain": np.array([0.1]), "a p": np.array([0.01, 0.5])}, {"a gain": np.array([0.3]), "a p": np.ones(2)}]
    assert bias(runs)["a"] == pytest.approx((0.2, 0.1))
    assert false_positives(runs)["a"] == pytest.approx((0.25, 0.25))
    held = [{"m": np.array([0.0, -1.0, 1.0])}, {"m": np.array([1.0, 0.9, 1.1])}]  # 0.5 is in the first alone
    assert coverage(held)["m"] == pytest.approx((0.5, 1.1))
    apart = {"matched p": np.array([0.01, 0.02, 0.5, 0.6]), "matched active": np.array([1.0, 1, 0, 0])}
    assert found_by([apart], "matched") == (1.0, 1.0)
