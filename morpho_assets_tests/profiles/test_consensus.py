from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.consensus import ConsensusConfig, consensus, modz
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.profiles.conftest import plate

FRAME = pl.DataFrame(
    {
        "Metadata_Perturbation": ["b", "a", "b", "b"],
        "Metadata_moa": ["m", "k", "m", "m"],
        "Metadata_Plate": ["P", "P", "Q", "R"],
        "Cells_A": [1.0, 9.0, 2.0, 6.0],
    }
)


def test_median_keeps_what_a_treatment_determines() -> None:
    found = consensus(FRAME)
    assert found.columns == ["Metadata_Perturbation", "Metadata_Count_Profiles", "Metadata_moa", "Cells_A"]
    assert found.rows() == [("a", 1, "k", 9.0), ("b", 3, "m", 2.0)]


def test_per_batch() -> None:
    found = consensus(FRAME, ConsensusConfig(method="mean", by=("Metadata_Perturbation", "Metadata_Plate")))
    assert found["Cells_A"].to_list() == [9.0, 1.0, 2.0, 6.0]


def test_modz_trusts_the_replicate_that_agrees() -> None:
    odd = np.array([[1.0, 2, 3, 4], [1.5, 2.5, 3.5, 4.5], [4.0, 3, 2, 1]])
    np.testing.assert_allclose(modz(odd), (odd[0] + odd[1]) * 0.4950 + odd[2] * 0.0099, atol=1e-9)


def test_modz_of_one_replicate_is_itself_and_constants_weigh_alike() -> None:
    np.testing.assert_array_equal(modz(np.array([[1.0, 2.0]])), [1.0, 2.0])
    np.testing.assert_array_equal(modz(np.array([[3.0, 3.0], [5.0, 5.0]])), [4.0, 4.0])


@pytest.mark.parametrize("method", ["median", "mean", "modz"])
def test_no_rows_give_no_rows(method: Literal["median", "mean", "modz"]) -> None:
    found = consensus(FRAME.clear(), ConsensusConfig(method=method))
    assert found.height == 0
    assert "Cells_A" in found.columns


@pytest.mark.parametrize("method", ["median", "mean", "modz"])
def test_the_order_of_rows_does_not_matter(method: Literal["median", "mean", "modz"]) -> None:
    frame = plate(wells=40, features=7, controls=8)
    order = np.random.default_rng(0).permutation(frame.height)
    both = [consensus(rows, ConsensusConfig(method=method)) for rows in (frame, frame[order])]
    assert both[0].drop(feature_columns(frame)).equals(both[1].drop(feature_columns(frame)))
    np.testing.assert_allclose(*(to_matrix(each, feature_columns(frame)) for each in both), rtol=1e-9, atol=1e-12)


def test_modz_refuses_missing_values() -> None:
    with pytest.raises(InputError, match="modz"):
        consensus(FRAME.with_columns(Cells_A=pl.lit(None, pl.Float64)), ConsensusConfig(method="modz"))
