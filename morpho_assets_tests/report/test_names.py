"""What treatments are called."""

from __future__ import annotations

import polars as pl

from morpho_assets.report.names import labels, treatments_of, with_labels

WELLS = pl.DataFrame({
    "Metadata_Plate": ["P"] * 6, "Metadata_Perturbation": ["B@1", "B@10", "DMSO", "G1", "G2", None],
    "Metadata_pert_iname": ["drug", "drug", "DMSO", "TP53", "TP53", None],
    "Metadata_control_type": [None, None, "negcon", None, None, None],
    "Metadata_dose_uM": ["1.0", "10", None, None, "", None], "Metadata_target": ["A|B", None, None, None, None, None],
})  # fmt: skip


def test_the_dose_is_in_every_name_and_no_two_are_called_alike() -> None:
    named = treatments_of(WELLS)
    assert [each.label for each in named.values()] == ["drug, 1 µM", "drug, 10 µM", "DMSO", "TP53 (G1)", "TP53 (G2)"]
    assert named["B@1"].targets == "A, B"
    assert (named["B@1"].compound, named["B@1"].dose, named["DMSO"].control) == ("B", 1.0, True)
    assert labels(named, ["G1", "kinase"]) == ["TP53 (G1)", "kinase"]


def test_tables_of_targets_stay_as_they_are() -> None:
    frame = pl.DataFrame({"treatment": ["kinase"], "mAP": [0.5]})
    assert with_labels(frame, treatments_of(WELLS)).columns == ["treatment", "mAP"]
    assert with_labels(frame.with_columns(treatment=pl.lit("B@1")), treatments_of(WELLS))["name"][0] == "drug, 1 µM"


def test_no_wells_have_no_treatments() -> None:
    assert treatments_of(WELLS.clear()) == {}
