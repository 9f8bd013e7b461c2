"""The profile stage of a plate: cells to wells, annotated, with what stands behind each well, and normalised."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.imaging.cell_quality import FLAG, REASONS, CellQualityConfig, CellRule, flag_cells
from morpho_assets.lake.failures import failed_sites
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.tables import OBJECT, PLATE, SITE, WELL, table
from morpho_assets.profiles.aggregate import AggregateConfig, aggregate
from morpho_assets.profiles.features import FEATURES, feature_columns
from morpho_assets.profiles.normalize import NormalizeConfig, normalize

KEYS = [PLATE.name, WELL.name]
CELL = [*KEYS, SITE.name, OBJECT.name]


class ProfilesConfig(BaseModel):
    """From single cells to normalised well profiles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell_quality: CellQualityConfig = Field(
        CellQualityConfig(), description="implausible cells: counted, left out by choice"
    )
    aggregate: AggregateConfig = Field(
        default=AggregateConfig(), description="how the cells of a well become one profile"
    )
    normalize: NormalizeConfig = Field(default=NormalizeConfig(), description="the scale of each plate")


def profile_plate(lake: Lake, plate: str, made: Provenance, config: ProfilesConfig) -> pl.DataFrame:
    """Write `well_profiles`, then `normalized_profiles`; returns the latter.

    One row per well that was imaged, here or elsewhere; a well without cells has its counts and no measurements. The
    cells that a rule of the single-cell quality control hits are listed in `implausible_cells`. Raises InputError for a
    well that the plate's map lacks. A plate without enough control wells raises InputError (or takes the fallback that
    the settings name) after `well_profiles` is written.
    """
    cells = lake.scan("single_cells", [plate])
    wells = _imaged_wells(lake, plate).join(_site_counts(lake, plate), on=KEYS, how="left", maintain_order="left")
    features = feature_columns(cells)
    if features:
        implausible = _implausible(cells, wells, config.cell_quality, features)
        lake.write("implausible_cells", plate, implausible, made)
        if config.cell_quality.exclude:
            cells = cells.join(implausible.lazy(), on=CELL, how="anti")
        counts = implausible.group_by(KEYS).agg(pl.len().cast(pl.Int32).alias("Metadata_Count_Implausible_Cells"))
        for counted in (counts, aggregate(cells, KEYS, config.aggregate, features)):
            wells = wells.join(counted, on=KEYS, how="left", maintain_order="left")
    else:
        lake.write("implausible_cells", plate, table("implausible_cells").empty(), made)
        wells = wells.with_columns(Metadata_Count_Cells=pl.lit(None, pl.Int32))
    wells = wells.with_columns(pl.col("^Metadata_Count_.*$").fill_null(0))
    lake.write("well_profiles", plate, wells, made)
    normalized = normalize(wells, config.normalize, features) if features else wells
    lake.write("normalized_profiles", plate, normalized, made)
    return normalized


def import_profiles(
    lake: Lake, plate: str, made: Provenance, config: ProfilesConfig, published: pl.DataFrame, normalized: bool
) -> pl.DataFrame:
    """Write `well_profiles` and `normalized_profiles` from published profiles; returns the latter.

    `published` has plate, well, Metadata_Count_Cells and features. Where they are `normalized` already they are taken
    as they are, and `well_profiles` has the wells without measurements, since nobody published them. Raises InputError
    for a well that the plate's map lacks.
    """
    features = feature_columns(published, FEATURES)
    wells = _annotation(lake, plate)
    _require_known(published, wells, plate)
    profiles = wells.join(published, on=KEYS, how="inner", maintain_order="left")
    lake.write("well_profiles", plate, profiles.drop(features) if normalized else profiles, made)
    profiles = profiles if normalized else normalize(profiles, config.normalize, features)
    lake.write("normalized_profiles", plate, profiles, made)
    return profiles


def _implausible(
    cells: pl.LazyFrame, wells: pl.DataFrame, config: CellQualityConfig, features: Sequence[str]
) -> pl.DataFrame:
    """Keys of the implausible cells of a plate, and in which measurements. `wells` has the annotation by KEYS."""
    rules = _applicable(config.rules, features)
    annotation = [name for name in config.within if name in wells.columns and name not in CELL]
    keyed = cells.select(*CELL, *dict.fromkeys(rule.feature for rule in rules))
    if annotation:
        keyed = keyed.join(wells.lazy().select(*KEYS, *annotation), on=KEYS, how="left", maintain_order="left")
    flagged = flag_cells(keyed, config.model_copy(update={"rules": rules}))
    return flagged.lazy().filter(FLAG).select(*CELL, REASONS).collect()


def _applicable(rules: Sequence[CellRule], features: Sequence[str]) -> tuple[CellRule, ...]:
    """The rules on measurements that the plate has. What it lacks because a module is off or a stain was left out is
    passed over; a measurement that no module gives is an InputError."""
    missing = [rule.feature for rule in rules if rule.feature not in features]
    if missing:
        from morpho_assets.measure import feature_columns as measurable
        from morpho_assets.measure.config import CorrelationConfig, CostesConfig, MeasurementConfig

        everything = MeasurementConfig(correlation=CorrelationConfig(costes=CostesConfig()))
        channels = {name.rsplit("_", 1)[-1] for name in features if "_Intensity_MeanIntensity_" in name}
        stains = sorted(channels | {"DNA", "ER", "RNA", "AGP", "Mito"})
        known = set(measurable(stains, ("Nuclei", "Cells", "Cytoplasm"), everything))
        for feature in missing:
            if feature not in known:
                near = ", ".join(difflib.get_close_matches(feature, [*features, *known], 3)) or "the plate's"
                todo = "Correct the name, or drop the rule."
                where = "profiles.cell_quality.rules"
                raise InputError(where, feature, "a measurement that no module gives", f"one such as {near}", todo)
    return tuple(rule for rule in rules if rule.feature in features)


def _imaged_wells(lake: Lake, plate: str) -> pl.DataFrame:
    imaged, wells = _sites(lake, plate).select(KEYS).unique(), _annotation(lake, plate)
    _require_known(imaged, wells, plate)
    return wells.join(imaged, on=KEYS, how="semi", maintain_order="left")


def _require_known(measured: pl.DataFrame, wells: pl.DataFrame, plate: str) -> None:
    """Raise InputError for a measured well that the platemap does not have."""
    unknown = measured.join(wells, on=KEYS, how="anti")
    if unknown.height:
        found = f"well {unknown['Metadata_Well'].sort()[0]}, which the platemap lacks"
        raise InputError("profiles", f"plate {plate}", found, "wells of the platemap", "Check that it is the plate's.")


def _annotation(lake: Lake, plate: str) -> pl.DataFrame:
    """What profiles repeat of the plate's wells: where they lie and what was done to them."""
    return lake.read("wells", plate).select(*KEYS, pl.col("^Metadata_.*$").exclude(KEYS))


def _sites(lake: Lake, plate: str) -> pl.DataFrame:
    """Keys of the sites that were imaged, here or elsewhere."""
    site = [*KEYS, SITE.name]
    imaged = lake.scan("sites", [plate]).select(site).unique().collect()
    return imaged if imaged.height else lake.read("measured_sites", plate).select(site)


def _site_counts(lake: Lake, plate: str) -> pl.DataFrame:
    """Per well: sites that were segmented, that failed in any stage, and that carry a quality flag."""
    site = [WELL.name, SITE.name]
    sites = _sites(lake, plate)
    elsewhere = not lake.read("sites", plate).height
    segmented = (sites if elsewhere else lake.read("masks", plate)).select(site)
    failed = failed_sites(lake, plate)
    quality = lake.read("image_quality", plate)
    flagged = quality.filter(pl.any_horizontal(pl.col("^flag_.*$"), pl.lit(False))).select(site).unique()
    counts = {"Sites": segmented, "Failed_Sites": failed, "Flagged_Sites": flagged}
    wells = sites.select(KEYS).unique()
    for name, frame in counts.items():
        counted = frame.group_by(WELL.name).agg(pl.len().cast(pl.Int32).alias(f"Metadata_Count_{name}"))
        wells = wells.join(counted, on=WELL.name, how="left")
    return wells
