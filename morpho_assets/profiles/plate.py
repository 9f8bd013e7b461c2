"""The profile stage of a plate: cells to wells, annotated, with what stands behind each well, and normalised."""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.imaging.cell_quality import FLAG, CellQualityConfig, flag_cells
from morpho_assets.lake.failures import failed_sites
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.tables import OBJECT, PLATE, SITE, WELL
from morpho_assets.profiles.aggregate import AggregateConfig, aggregate
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.normalize import NormalizeConfig, normalize

KEYS = [PLATE.name, WELL.name]


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

    One row per well that was imaged (of a plate without images: that has cells); a well without cells has its counts
    and no measurements. A plate without enough control wells raises InputError (or takes the fallback that the
    settings name) after `well_profiles` is written.
    """
    cells = lake.scan("single_cells", [plate])
    wells = _imaged_wells(lake, plate).join(_site_counts(lake, plate), on=KEYS, how="left", maintain_order="left")
    features = feature_columns(cells)
    if features:
        cells, implausible = _judged(cells, config.cell_quality, set(features))
        profiles = aggregate(cells, KEYS, config.aggregate, features)
        for counted in (implausible, profiles):
            wells = wells.join(counted, on=KEYS, how="left", maintain_order="left")
    else:
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
    features = feature_columns(published)
    wells = _annotation(lake, plate)
    unknown = published.join(wells, on=KEYS, how="anti")
    if unknown.height:
        found = f"a profile of well {unknown['Metadata_Well'][0]}, which the platemap lacks"
        raise InputError("profiles", f"plate {plate}", found, "wells of the platemap", "Check that it is the plate's.")
    profiles = wells.join(published, on=KEYS, how="inner", maintain_order="left")
    lake.write("well_profiles", plate, profiles.drop(features) if normalized else profiles, made)
    profiles = profiles if normalized else normalize(profiles, config.normalize, features)
    lake.write("normalized_profiles", plate, profiles, made)
    return profiles


def _judged(cells: pl.LazyFrame, config: CellQualityConfig, features: set[str]) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """The cells that go into profiles, and how many of each well are implausible.

    Rules on measurements that the plate does not have, because their module is switched off, are passed over.
    """
    rules = tuple(rule for rule in config.rules if rule.feature in features)
    used = [rule.feature for rule in rules]
    flagged = flag_cells(cells.select(*KEYS, SITE.name, OBJECT.name, *used), config.model_copy(update={"rules": rules}))
    flags = flagged.lazy().select(*KEYS, SITE.name, OBJECT.name, FLAG).collect()
    counts = flags.group_by(KEYS).agg(pl.col(FLAG).sum().cast(pl.Int32).alias("Metadata_Count_Implausible_Cells"))
    if not config.exclude:
        return cells, counts
    return cells.join(flags.filter(FLAG).lazy(), on=[*KEYS, SITE.name, OBJECT.name], how="anti"), counts


def _imaged_wells(lake: Lake, plate: str) -> pl.DataFrame:
    imaged = _sites(lake, plate).select(KEYS).unique()
    return _annotation(lake, plate).join(imaged, on=KEYS, how="semi", maintain_order="left")


def _annotation(lake: Lake, plate: str) -> pl.DataFrame:
    """What profiles repeat of the plate's wells: where they lie and what was done to them."""
    return lake.read("wells", plate).select(*KEYS, pl.col("^Metadata_.*$").exclude(KEYS))


def _sites(lake: Lake, plate: str) -> pl.DataFrame:
    """Keys of the sites that were imaged; of a plate that was measured elsewhere, of those with cells."""
    site = [*KEYS, SITE.name]
    imaged = lake.scan("sites", [plate]).select(site).unique().collect()
    return imaged if imaged.height else lake.scan("single_cells", [plate]).select(site).unique().collect()


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
