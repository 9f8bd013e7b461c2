from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import complete_matrix, feature_columns, require_features, to_matrix, with_matrix


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
