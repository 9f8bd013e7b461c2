"""The profile stage of a plate: cells to wells, annotated, with what stands behind each well, and normalised."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.imaging.cell_quality import FLAG, REASONS, CellQualityConfig, CellRule, flag_cells
from morpho_assets.lake.tables import OBJECT, PLATE, SITE, WELL, table
from morpho_assets.lake.work import Work
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


class JudgedProfilesConfig(ProfilesConfig):
    """The same for a plate of which a person rejected something: wells (`A01`) and sites (`A01-1`) with name and
    reason, and the sites of rejected wells that another judgement keeps. It comes from the ledger, never from a file.
    """

    rejected: dict[str, str]
    kept: dict[str, str] = Field(default_factory=dict)

    def leaves_out(self, well: str, site: int | None = None) -> str | None:
        """Name and reason of the judgement that leaves a well or a site out; None where it stays."""
        place = f"{well}-{site}"
        return None if place in self.kept else self.rejected.get(place) or self.rejected.get(well)


def profile_plate(work: Work) -> None:
    """Write `well_profiles` and `normalized_profiles`, from the plate's cells or as its source has published them."""
    elsewhere = not work.read("sites").height
    account = Account()
    published = work.source.profiles(work.key, account) if elsewhere else None
    if published is None:
        profile_cells(work)
    else:
        import_profiles(work, published, work.source.normalized)
        work.notes["beside the features"] = account.notes()


def profile_cells(work: Work) -> None:
    """Write `well_profiles`, `normalized_profiles`, `implausible_cells` and `rejected_sites` from single cells.

    One row per well that was imaged, here or elsewhere, and has a site that nobody rejected; a well without cells has
    its counts and no measurements. The cells that a rule of the single-cell quality control hits are listed in
    `implausible_cells`. Raises InputError for a well that the plate's map lacks. A plate without enough control wells
    raises InputError (or takes the fallback that the settings name).
    """
    config: ProfilesConfig = work.settings
    sites = _sites(work)
    rejected = _rejected(work, sites)
    work.write("rejected_sites", rejected)
    sites = sites.join(rejected, on=[*KEYS, SITE.name], how="anti", maintain_order="left")
    cells = work.scan("single_cells")
    if rejected.height:
        cells = cells.join(rejected.lazy(), on=[*KEYS, SITE.name], how="anti", maintain_order="left")
    wells = _imaged_wells(work, sites).join(_site_counts(work, sites), on=KEYS, how="left", maintain_order="left")
    features = feature_columns(cells)
    if features:
        implausible = _implausible(cells, wells, config.cell_quality, features)
        work.write("implausible_cells", implausible)
        if config.cell_quality.exclude:
            cells = cells.join(implausible.lazy(), on=CELL, how="anti")
        counts = implausible.group_by(KEYS).agg(pl.len().cast(pl.Int32).alias("Metadata_Count_Implausible_Cells"))
        for counted in (counts, aggregate(cells, KEYS, config.aggregate, features)):
            wells = wells.join(counted, on=KEYS, how="left", maintain_order="left")
    else:
        work.write("implausible_cells", table("implausible_cells").empty())
        wells = wells.with_columns(Metadata_Count_Cells=pl.lit(None, pl.Int32))
    wells = wells.with_columns(pl.col("^Metadata_Count_.*$").fill_null(0))
    work.write("well_profiles", wells)
    measured = feature_columns(wells) if features else []  # with their spreads, where these stand beside them
    work.write("normalized_profiles", normalize(wells, config.normalize, measured) if features else wells)


def import_profiles(work: Work, published: pl.DataFrame, normalized: bool) -> None:
    """Write `well_profiles` and `normalized_profiles` from published profiles.

    `published` has plate, well, Metadata_Count_Cells and features. Where they are `normalized` already they are taken
    as they are, and `well_profiles` has the wells without measurements, since nobody published them. Wells that a
    person rejected have no row. Raises InputError for a well that the plate's map lacks.
    """
    features = feature_columns(published, FEATURES)
    config: ProfilesConfig = work.settings
    wells = _annotation(work)
    _require_known(published, wells, work.key)
    if isinstance(config, JudgedProfilesConfig):
        published = published.filter(~pl.col(WELL.name).is_in(list(config.rejected)))
        _tell_of_strangers(work, config, set(wells[WELL.name]))
    profiles = wells.join(published, on=KEYS, how="inner", maintain_order="left")
    work.write("well_profiles", profiles.drop(features) if normalized else profiles)
    work.write("normalized_profiles", profiles if normalized else normalize(profiles, config.normalize, features))
    work.write("implausible_cells", table("implausible_cells").empty())
    work.write("rejected_sites", table("rejected_sites").empty())


def _rejected(work: Work, sites: pl.DataFrame) -> pl.DataFrame:
    """The sites that a person rejected, or whose well, each with name and reason."""
    config: ProfilesConfig = work.settings
    if not isinstance(config, JudgedProfilesConfig):
        return table("rejected_sites").empty()
    places = list(sites.select(WELL.name, SITE.name).iter_rows())
    said = pl.Series("rejected_by", [config.leaves_out(well, site) for well, site in places], dtype=pl.String)
    _tell_of_strangers(work, config, {name for well, site in places for name in (well, f"{well}-{site}")})
    rejected = sites.select(*KEYS, SITE.name).with_columns(said).filter(pl.col("rejected_by").is_not_null())
    return rejected.sort(*KEYS, SITE.name)


def _tell_of_strangers(work: Work, config: JudgedProfilesConfig, known: set[str]) -> None:
    """Note what people rejected that the plate does not have (any more)."""
    strange = sorted(set(config.rejected) - known)
    if strange:
        work.notes["rejected, and not there"] = ", ".join(strange)


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


def _imaged_wells(work: Work, sites: pl.DataFrame) -> pl.DataFrame:
    imaged, wells = sites.select(KEYS).unique(), _annotation(work)
    _require_known(imaged, wells, work.key)
    return wells.join(imaged, on=KEYS, how="semi", maintain_order="left")


def _require_known(measured: pl.DataFrame, wells: pl.DataFrame, plate: str) -> None:
    """Raise InputError for a measured well that the platemap does not have."""
    unknown = measured.join(wells, on=KEYS, how="anti")
    if unknown.height:
        found = f"well {unknown['Metadata_Well'].sort()[0]}, which the platemap lacks"
        raise InputError("profiles", f"plate {plate}", found, "wells of the platemap", "Check that it is the plate's.")


def _annotation(work: Work) -> pl.DataFrame:
    """What profiles repeat of the plate's wells: where they lie and what was done to them."""
    return work.read("wells").select(*KEYS, pl.col("^Metadata_.*$").exclude(KEYS))


def _sites(work: Work) -> pl.DataFrame:
    """Keys of the sites that were imaged, here or elsewhere."""
    site = [*KEYS, SITE.name]
    imaged = work.scan("sites").select(site).unique().collect()
    return imaged if imaged.height else work.read("measured_sites").select(site)


def _site_counts(work: Work, sites: pl.DataFrame) -> pl.DataFrame:
    """Per well, of these sites: those that were segmented, that failed in any stage, and that carry a quality flag."""
    site = [WELL.name, SITE.name]
    elsewhere = not work.read("sites").height
    segmented = (sites if elsewhere else work.read("masks")).select(site)
    failed = work.read("site_failures").select(site).unique(maintain_order=True)
    quality = work.read("image_quality")
    flagged = quality.filter(pl.any_horizontal(pl.col("^flag_.*$"), pl.lit(False))).select(site).unique()
    counts = {"Sites": segmented, "Failed_Sites": failed, "Flagged_Sites": flagged}
    wells = sites.select(KEYS).unique()
    for name, frame in counts.items():
        counted = (
            frame.join(sites, on=site, how="semi")
            .group_by(WELL.name)
            .agg(pl.len().cast(pl.Int32).alias(f"Metadata_Count_{name}"))
        )
        wells = wells.join(counted, on=WELL.name, how="left")
    return wells
