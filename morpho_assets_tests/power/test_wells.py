from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.power.design import Plate
from morpho_assets.power.wells import DrawnWells, OwnWells
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen

PLATE = Plate()


def own(resample: bool = True, **settings: float) -> OwnWells:
    frame = screen(2.0, **settings)  # type: ignore[arg-type]
    return OwnWells.of(frame, feature_columns(frame), resample)


@pytest.mark.parametrize(
    "wells", [DrawnWells(None), own(), own(resample=False)], ids=["simulator", "own", "covariance"]
)
def test_an_effect_of_one_moves_a_well_by_one_mad_of_the_controls(wells: DrawnWells | OwnWells) -> None:
    rng = np.random.default_rng(0)
    moves = wells.moves(12, rng)
    drawn = [wells.draw([np.arange(60)], PLATE, rng)[0] for _ in range(30)]
    untreated = np.concatenate(drawn) @ (moves / np.linalg.norm(moves, axis=1, keepdims=True)).T
    mads = 1.4826 * np.median(np.abs(untreated - np.median(untreated, axis=0)), axis=0)
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1) / mads, 1.0, atol=0.3)


def test_drawn_wells_have_the_spectrum_and_tails_of_real_controls() -> None:
    """On three CPJUMP1 plates 21 components of equal variance would hold what all do, and the kurtosis is 0.7."""
    from scipy.stats import kurtosis

    values = DrawnWells(None).draw([np.zeros(20_000, dtype=np.int64)], PLATE, np.random.default_rng(1))[0]
    spread = np.linalg.eigvalsh(np.corrcoef(values.T))
    assert spread.sum() ** 2 / (spread**2).sum() == pytest.approx(21, rel=0.15)
    assert np.median(kurtosis(values)) == pytest.approx(0.7, abs=0.3)


def test_position_and_plates_move_drawn_wells_and_can_be_switched_off() -> None:
    edge, middle = np.full(400, 383), np.full(400, 8 * 24 + 12)
    for wells, moved in ((DrawnWells(), True), (DrawnWells(None), False)):
        drawn = wells.draw(
            [np.concatenate([edge, middle]), np.concatenate([edge, middle])], PLATE, np.random.default_rng(2)
        )
        apart = np.linalg.norm(drawn[0][:400].mean(axis=0) - drawn[0][400:].mean(axis=0))
        plates = np.linalg.norm(drawn[0].mean(axis=0) - drawn[1].mean(axis=0))
        assert (apart > 0.5) == moved
        assert (plates > 0.5) == moved


def test_own_wells_are_each_used_once() -> None:
    wells = own(controls=16)
    assert wells.most() == 64
    drawn = np.concatenate(wells.draw([np.arange(30), np.arange(34)], PLATE, np.random.default_rng(0)))
    assert len(np.unique(drawn, axis=0)) == 64
    np.testing.assert_array_equal(np.sort(drawn[:, 0]), np.sort(wells.controls[:, 0]))


def test_directions_are_those_of_the_treatments_on_the_plates() -> None:
    wells = own(treatments=5)
    assert wells.directions.shape == (5, 20)
    assert "effects along the 5 treatments there" in wells.about
    frame = screen(2.0).filter(pl.col("Metadata_control_type") == "negcon")
    alone = OwnWells.of(frame, feature_columns(frame), True)
    assert len(alone.directions) == 0
    assert alone.moves(3, np.random.default_rng(0)).shape == (3, 20)


def test_too_few_controls_are_told_and_wells_with_gaps_left_out() -> None:
    frame = screen(2.0, plates=1, controls=7)
    with pytest.raises(InputError, match="found 7 negative controls on them; expected 8 or more"):
        OwnWells.of(frame, feature_columns(frame), True)
    gaps = screen(2.0, plates=1, controls=9).with_columns(
        pl.when(pl.int_range(pl.len()).over("Metadata_control_type") != 0).then("Cells_0").alias("Cells_0")
    )
    assert len(OwnWells.of(gaps, feature_columns(gaps), True).controls) == 8
