from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.annotate import AnnotateConfig, annotate, recognise, unprofiled

PROFILES = pl.DataFrame({"Metadata_Plate": "P", "Metadata_Well": ["A02", "A01"], "Cells_A": [1.0, 2.0]})
WELLS = pl.DataFrame(
    {
        "Metadata_Plate": "P",
        "Metadata_Well": ["A01", "A02", "A03"],
        "Metadata_Perturbation": [None, "drug", "drug"],
        "Metadata_control_type": ["negcon", None, None],
    }
)


def test_profiles_get_their_treatment_in_their_order() -> None:
    found = annotate(PROFILES, WELLS, AnnotateConfig(negcon_name="DMSO"))
    assert found["Metadata_Well"].to_list() == ["A02", "A01"]
    assert found["Metadata_Perturbation"].to_list() == ["drug", "DMSO"]
    assert found["Metadata_pert_type"].to_list() == ["trt", "control"]
    assert unprofiled(PROFILES, WELLS)["Metadata_Well"].to_list() == ["A03"]


def test_a_profile_without_a_well_in_the_table_is_refused_and_can_be_ignored() -> None:
    stray = pl.concat([PROFILES, PROFILES[:1].with_columns(Metadata_Well=pl.lit("H12"))])
    with pytest.raises(InputError, match="P H12"):
        annotate(stray, WELLS)
    assert annotate(stray, WELLS, AnnotateConfig(ignored_wells=("H12",))).height == 2


def test_a_well_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="P A03"):
        annotate(PROFILES, pl.concat([WELLS, WELLS[2:]]))


def test_controls_by_condition() -> None:
    frame = pl.DataFrame({"Metadata_drug": ["DMSO", "x", None], "Metadata_dose": [0.0, 1.0, None]})
    config = AnnotateConfig(treatment="Metadata_drug", negcon="Metadata_drug = 'DMSO'", poscon="Metadata_dose = 1")
    found = recognise(frame, config)
    assert found["Metadata_control_type"].to_list() == ["negcon", "poscon", None]
    assert found["Metadata_Perturbation"].to_list() == ["DMSO", "x", None]


def test_a_profile_without_a_well_is_refused_not_lost() -> None:
    lost = PROFILES.with_columns(Metadata_Well=pl.Series(["A02", None]))
    with pytest.raises(InputError, match=r"P \(null\)"):
        annotate(lost, WELLS)


def test_barcodes_that_are_numbers_in_one_frame_are_told() -> None:
    with pytest.raises(InputError, match=r"Metadata_Plate: found String there and Int64 in the profiles"):
        annotate(PROFILES.with_columns(Metadata_Plate=pl.lit(7, pl.Int64)), WELLS)
