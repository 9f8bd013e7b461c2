"""What must hold of a plate's profiles before they are believed. Each check names what offends."""

from __future__ import annotations

from typing import Any

import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Verdict
from morpho_assets.lake.tables import table
from morpho_assets.lake.verdicts import few, warning
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.layout import map_fit
from morpho_assets.profiles.normalize import NORMALIZED_ON

_REJECTED = table("rejected_sites")
_MOST_MISSING = 0.05  # of all feature values


def every_well_has_a_profile(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """Every well that was imaged has a row; wells whose sites all failed are listed, and wells without cells.

    What a person rejected is passed over, and told.
    """
    rejected = _rejected(inputs, plate)
    sites = inputs.read("sites", plate).join(rejected, on=rejected.columns, how="anti")
    profiles = inputs.read("normalized_profiles", plate)
    absent = sorted(set(sites["Metadata_Well"]) - set(profiles["Metadata_Well"]))
    lost = profiles.filter(Metadata_Count_Sites=0)["Metadata_Well"].to_list()
    empty = profiles.filter(pl.col("Metadata_Count_Sites") > 0, Metadata_Count_Cells=0)["Metadata_Well"].to_list()
    text = f"wells whose sites all failed: {few(lost) or 'none'}; wells without a row: {few(absent) or 'none'}"
    facts = {"wells without cells": few(empty) or "none"}
    if rejected.height:
        facts["rejected sites"] = few([f"{well}-{site}" for _, well, site in rejected.iter_rows()])
    return Verdict(check="every_well_has_a_profile", passed=not absent and not lost, text=text, facts=facts)


def _rejected(inputs: Snapshot, plate: str) -> pl.DataFrame:
    """Keys of the sites that a person rejected."""
    sites = inputs.read("rejected_sites", plate) if inputs.has("rejected_sites", plate) else _REJECTED.empty()
    return sites.select(_REJECTED.keys)


def normalised_on_its_reference(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """The plate was normalised on the rows that the settings name, not on all its wells for want of these."""
    reference = settings.profiles.normalize.reference
    profiles = inputs.read("normalized_profiles", plate)
    used = profiles[NORMALIZED_ON].unique().to_list() if NORMALIZED_ON in profiles.columns else []
    faults = [f"fewer rows where {reference} than min_reference: normalised on all wells"] if used == ["all"] else []
    good = f"normalised on: {', '.join(map(str, used)) or 'as published'}"
    return warning("normalised_on_its_reference", faults if reference != "all" else [], good)


def platemap_fits(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """Wells of one treatment resemble each other as the platemap stands, not only if it were shifted or turned."""
    # Published profiles may come normalised only; the comparison is within the plate and does not mind.
    read = [inputs.read(table, plate) for table in ("well_profiles", "normalized_profiles")]
    measured = [profiles for profiles in read if feature_columns(profiles)]
    fit = map_fit(measured[0]) if measured else None
    figures = f"{fit.z:.1f} standard deviations more alike than shuffled wells" if fit else "too few wells to tell"
    fault = fit.fault if fit else None
    return warning("platemap_fits", [fault] if fault else [], f"wells of one treatment: {figures}")


def finite_features(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """Of the wells with cells, under a twentieth of all feature values are missing; the emptiest features are named.

    What is the same in every well by nature, such as the depth of a flat image, has no scale and does not count.
    """
    profiles = inputs.read("normalized_profiles", plate)
    profiles = profiles.filter(pl.col("Metadata_Count_Cells").fill_null(1) > 0)  # null: nobody counted
    same = _same_in_every_well(inputs.read("well_profiles", plate))
    names = [name for name in feature_columns(profiles) if name not in same]
    if not profiles.height or not names:
        return warning("finite_features", ["no well has measurements"], "")
    missing = profiles.select(pl.col(names).null_count()).row(0)
    share = sum(missing) / (profiles.height * len(names))
    worst = sorted(zip(missing, names, strict=True), reverse=True)[:10]
    listed = ", ".join(f"{name} ({count} wells)" for count, name in worst if count) or "none"
    text = f"{share:.1%} of all feature values are missing (limit {_MOST_MISSING:.0%})"
    facts = {"share missing": share, "emptiest features": listed}
    return Verdict(check="finite_features", passed=share < _MOST_MISSING, text=text, facts=facts)


def _same_in_every_well(profiles: pl.DataFrame) -> set[str]:
    names = feature_columns(profiles)
    if not names:
        return set()
    values = profiles.select(pl.col(names).drop_nulls().n_unique())
    return {name for name, number in zip(values.columns, values.row(0), strict=True) if number == 1}
