from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.profiles.consensus import ConsensusConfig

FRAME = pl.DataFrame({
    "Metadata_Perturbation": ["a", "a", "b", "b", None], "Metadata_moa": [None, "x", "y", "y", "z"],
    "Metadata_Batch": ["1", None, "1", "1", "1"], "Cells_0": [1.0, 3, 5, 7, 9],
})  # fmt: skip
CONFIG = ConsensusConfig()


def test_a_treatment_has_the_label_that_any_of_its_profiles_has() -> None:
    found = treatment_profiles(FRAME, ["Cells_0"], CONFIG, ["Metadata_moa"])
    assert found.select("Metadata_Perturbation", "Metadata_moa", "Cells_0").rows() == [("a", "x", 2), ("b", "y", 6)]
    assert treatment_profiles(FRAME.clear(), ["Cells_0"], CONFIG, ["Metadata_moa"]).is_empty()


def test_a_null_of_another_key_is_a_group() -> None:
    config = ConsensusConfig(by=("Metadata_Perturbation", "Metadata_Batch"))
    found = treatment_profiles(FRAME, ["Cells_0"], config, ["Metadata_Perturbation"])
    assert found["Metadata_Batch"].to_list() == ["1", None, "1"]


def test_what_is_refused() -> None:
    conflict = FRAME.with_columns(Metadata_moa=pl.Series(["w", "x", "y", "y", "z"]))
    with pytest.raises(InputError, match="treatment a: found several values of Metadata_moa: 'w', 'x'"):
        treatment_profiles(conflict, ["Cells_0"], CONFIG, ["Metadata_moa"])
    with pytest.raises(InputError, match="no column Metadata_absent"):
        treatment_profiles(FRAME, ["Cells_0"], CONFIG, ["Metadata_absent"])
    for features in ([], ["Cells_1"]):
        with pytest.raises(InputError, match="features: found no"):
            treatment_profiles(FRAME, features, CONFIG, [])
        with pytest.raises(InputError, match="features: found no"):
            profile_matrix(FRAME, features, "test")
