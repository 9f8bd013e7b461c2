"""What must hold of a study's activity before its list of compounds is believed. Each names what offends."""

from __future__ import annotations

from typing import Any

import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Verdict
from morpho_assets.lake.verdicts import few, warning


def names_of_compounds_are_known(inputs: Snapshot, study: str, settings: Any) -> Verdict:
    """Every name of a compound in the file of assays means a compound of the study, and one alone."""
    matches = inputs.read("assay_matches", study)
    odd = matches.filter(pl.col("note").is_not_null())
    known = matches.height - matches["compound"].null_count()
    faults = [
        f"{rows.height} of {matches.height} names: {note} ({few(rows['given'].to_list())})"
        for (note,), rows in odd.group_by("note", maintain_order=True)
    ]
    return warning("names_of_compounds_are_known", faults, f"{known} names of compounds, all known")


def structures_are_readable(inputs: Snapshot, study: str, settings: Any) -> Verdict:
    """Every compound has a structure that can be read."""
    compounds = inputs.read("assay_compounds", study)
    faults = [
        f"{problem}: {few(rows['compound'].to_list())}"
        for (problem,), rows in compounds.drop_nulls("problem").group_by("problem", maintain_order=True)
    ]
    return warning("structures_are_readable", faults, f"{compounds.height} compounds, no structure with a problem")


def no_nuisance_reaches_the_score(inputs: Snapshot, study: str, settings: Any) -> Verdict:
    """In no assay the cell count, the place on the plate or the batch alone reaches the score of every modality and
    every way to join them."""
    scores = inputs.read("assay_scores", study)
    first = scores.filter(pl.col("split") == scores["split"][0]) if scores.height else scores
    asked = first.filter(pl.col("kind").is_in(["modality", "early", "late", "merger"]))
    reached = asked.group_by("assay", maintain_order=True).agg(
        pl.col("reached_by").is_not_null().all().alias("all"), pl.col("auroc").max(), pl.col("reached_by").first()
    ).filter("all", pl.col("auroc") > 0.5)  # fmt: skip
    faults = [f"{assay}: {names}" for assay, names in reached.select("assay", "reached_by").iter_rows()]
    return warning("no_nuisance_reaches_the_score", faults[:20], f"{asked['assay'].n_unique()} assays, none")
