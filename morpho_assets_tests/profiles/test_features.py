from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.aggregate import aggregate
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import complete_matrix, feature_columns, require_features, to_matrix, with_matrix
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.select import NoiseRemoval, SelectConfig, select_features


def test_features_are_the_numeric_columns_of_the_compartments_in_order() -> None:
    frame = pl.DataFrame(
        {"Metadata_Well": ["A01"], "Nuclei_B": [1], "Cells_A": [2.0], "Cells_Name": ["x"], "Other": [1]}
    )
    assert feature_columns(frame) == ["Nuclei_B", "Cells_A"]
    assert feature_columns(frame.lazy(), ("Other",)) == ["Other"]


def test_null_nan_and_infinity_are_one_kind_of_missing() -> None:
    frame = pl.DataFrame({"Cells_A": [1.0, None, float("nan"), float("inf"), -float("inf")]})
    matrix = to_matrix(frame, ["Cells_A"])
    assert np.isnan(matrix[1:]).all()
    assert with_matrix(frame, ["Cells_A"], matrix)["Cells_A"].to_list() == [1.0, None, None, None, None]


def test_a_feature_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="Cells_A named twice"):
        require_features(pl.DataFrame({"Cells_A": [1.0]}), ["Cells_A", "Cells_A"])


@pytest.mark.parametrize("named", [["Cells_B"], None], ids=["absent", "none"])
def test_missing_feature_columns_are_refused(named: list[str] | None) -> None:
    with pytest.raises(InputError, match="feature"):
        require_features(pl.DataFrame({"Metadata_Well": ["A01"]}), named)


def test_methods_that_need_complete_values_name_the_feature() -> None:
    with pytest.raises(InputError, match="Cells_A"):
        complete_matrix(pl.DataFrame({"Cells_A": [1.0, None], "Cells_B": 1.0}), ["Cells_A", "Cells_B"], "sphering")


def square(n: int = 6) -> tuple[pl.DataFrame, list[str]]:
    """As many wells as features."""
    features = [f"Cells_{i}" for i in range(n)]
    values = np.random.default_rng(0).normal(size=(n, n)) * np.arange(1, n + 1)
    frame = pl.DataFrame(values, schema=features, orient="row").with_columns(
        Metadata_Plate=pl.lit("P"), Metadata_Well=pl.Series([f"A{i:02d}" for i in range(1, n + 1)]),
        Metadata_Perturbation=pl.Series([f"t{i // 2}" for i in range(n)]),
    )  # fmt: skip
    return frame, features


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_square_matrix_keeps_its_rows(order: Literal["C", "F"]) -> None:
    frame, features = square()
    matrix = np.array(frame.select(features).to_numpy(), order=order)
    assert with_matrix(frame, features, matrix).equals(frame)


def test_as_many_wells_as_features_change_nothing() -> None:
    """Each step on a square of values gives what it gives with one feature less."""
    frame, features = square()
    fewer = features[:-1]
    scaled = normalize(frame, NormalizeConfig(method="standardize", reference="all"), features)
    assert scaled.select(fewer).equals(
        normalize(frame, NormalizeConfig(method="standardize", reference="all"), fewer).select(fewer)
    )
    wells = aggregate(frame, features=features)
    assert wells.select(features).equals(frame.select(features))
    by_well = ConsensusConfig(by=("Metadata_Well",))
    assert consensus(frame, by_well, features).select(features).equals(frame.select(features))
    rule = SelectConfig(operations=(NoiseRemoval(cutoff=2.5),))
    kept = set(select_features(frame, rule, features).kept) - {features[-1]}
    assert kept == set(select_features(frame, rule, fewer).kept)
