"""Asset checks: what must hold of a plate before its numbers are believed. Each names what offends."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.evaluate.stain_drift import StainDriftConfig
from morpho_assets.evaluate.truth.checks import CHECKS as TRUTH_CHECKS
from morpho_assets.imaging.quality import plate_faults, stain_drift
from morpho_assets.lake.failures import failed_sites
from morpho_assets.lake.lake import Lake
from morpho_assets.measure.stains import nuclear_channel, nuclear_contrast, stain_fault
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.layout import map_fit
from morpho_assets.profiles.normalize import NORMALIZED_ON


def _failed_sites_check(stage: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=stage, name="few_failed_sites", blocking=True)
    def few_failed_sites(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
        """The share of sites that failed so far is under the settings' `failed_sites`; else the plate stops here."""
        opened, plate = workspace.open(), context.partition_key
        failed = failed_sites(opened.lake, plate)
        sites = opened.lake.read("sites", plate).select("Metadata_Well", "Metadata_Site").n_unique()
        share = failed.height / max(sites, 1)
        names = [f"{well}-{site}" for well, site in failed.head(20).iter_rows()]
        metadata: dict[str, Any] = {
            "failed sites": failed.height,
            "sites": sites,
            "share": share,
            "which": ", ".join(names) or "none",
        }
        limit = opened.settings.failed_sites
        text = f"{failed.height} of {sites} sites failed (limit {limit:.0%}); table site_failures says why"
        if share > limit:
            first = opened.lake.read("site_failures", plate).row(0, named=True)
            todo = "Restore the images, or raise failed_sites in the settings."
            text += f". The first: {first['path']} {first['error']}. {todo}"
        return dg.AssetCheckResult(passed=share <= limit, metadata=metadata, description=text)

    return few_failed_sites


def _warning(faults: list[str], good: str) -> dg.AssetCheckResult:
    """Passed without faults; else a warning with a sentence for each."""
    text = "; ".join(faults) or good
    return dg.AssetCheckResult(passed=not faults, severity=dg.AssetCheckSeverity.WARN, description=text)


def _few(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


@dg.asset_check(asset="plate_manifest")
def controls_present(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """The plate has imaged negative control wells, at least two, better a dozen: all is measured against them."""
    opened, plate = workspace.open(), context.partition_key
    wells = opened.lake.read("wells", plate)
    controls = wells.filter(Metadata_control_type="negcon")
    imaged = opened.lake.read("sites", plate)["Metadata_Well"].unique()
    if len(imaged):  # a plate that was measured elsewhere has no images
        controls = controls.filter(pl.col("Metadata_Well").is_in(imaged.to_list()))
    names = controls["Metadata_Well"].to_list()
    text = f"{len(names)} imaged negative control wells"
    metadata = {"negative control wells": ", ".join(names) or "none"}
    severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(passed=len(names) >= 2, severity=severity, metadata=metadata, description=text)


@dg.asset_check(asset="plate_manifest")
def wells_imaged_and_described(
    context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource
) -> dg.AssetCheckResult:
    """Every well of the platemap that is not empty has images, and the metadata describes every treatment."""
    opened, plate = workspace.open(), context.partition_key
    wells = opened.lake.read("wells", plate)
    imaged = opened.lake.read("sites", plate)["Metadata_Well"].unique().to_list()
    wanted = wells.filter(pl.col("Metadata_pert_type") != "empty", bool(imaged))  # none: measured elsewhere
    absent = wanted.filter(~pl.col("Metadata_Well").is_in(imaged))["Metadata_Well"].to_list()
    unknown = wells.filter(~pl.col("described"))["Metadata_Perturbation"].unique(maintain_order=True).to_list()
    faults = []
    if absent:
        todo = "fetch their load_data, or take them out of the platemap"
        faults.append(f"{len(absent)} of {wanted.height} wells of the platemap have no images: {_few(absent)}; {todo}")
    if unknown:
        todo = "without a row there they have neither target nor mechanism"
        faults.append(f"the metadata does not describe the treatments {_few(unknown)}; {todo}")
    return _warning(faults, "every well has images, every treatment is described")


@dg.asset_check(asset="single_cells")
def nuclear_stain_in_nuclei(
    context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource
) -> dg.AssetCheckResult:
    """The channel on which nuclei were found is the one that shines in them: no other took its place."""
    opened, plate = workspace.open(), context.partition_key
    quality = opened.lake.read("image_quality", plate) if opened.lake.parts("image_quality", plate) else None
    contrast = {} if quality is None else nuclear_contrast(opened.lake.scan("single_cells", [plate]), quality)
    fault = stain_fault(contrast, nuclear_channel(opened.settings.segmentation, list(contrast)))
    figures = ", ".join(f"{channel} {value:.2f}" for channel, value in contrast.items()) or "not measured"
    return _warning([fault] if fault else [], f"brightness in nuclei over cytoplasm: {figures}")


@dg.asset_check(asset="image_quality")
def no_fault_of_the_plate(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """No flag is on so many images that the plate is at fault, such as a lost stain, and no field comes twice."""
    opened, plate = workspace.open(), context.partition_key
    faults = plate_faults(opened.lake.read("image_quality", plate), opened.settings.quality)
    return _warning(faults, "no flag on many images, no field twice")


@dg.asset_check(asset="image_quality")
def stains_as_on_the_batch(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """No stain of the plate is far brighter or dimmer than on the plates of its batch that are in the lake."""
    lake, plate, config = workspace.open().lake, context.partition_key, StainDriftConfig()
    batches = lake.scan("wells").select("Metadata_Plate", *config.group).unique().collect()
    batch = batches.filter(Metadata_Plate=plate).drop("Metadata_Plate")
    same = batches.join(batch, on=config.group, how="semi", nulls_equal=True)["Metadata_Plate"].to_list()
    plates = [other for other in lake.partitions("image_quality") if other in same]
    quality = lake.scan("image_quality", plates)
    if config.value not in quality.collect_schema().names():  # of plates without images
        return _warning([], "no images")
    quality = quality.select("Metadata_Plate", "channel", config.value)  # of a large batch all columns would be heavy
    drift = stain_drift(quality.collect(), value=config.value, z=config.z, least_change=config.least_change)
    drift = drift.filter(Metadata_Plate=plate)
    faults = [
        f"{row['channel']} has {2 ** row['log2_ratio']:.2f} times the contrast of the batch's other {len(plates) - 1} "
        "plates: was it stained or exposed as they were?"
        for row in drift.filter("flag_stain_drift").iter_rows(named=True)
    ]
    good = "as on the other plates of the batch" if len(plates) > 3 else "fewer than three other plates to compare with"
    return _warning(faults, good)


@dg.asset_check(asset="well_profiles")
def every_well_has_a_profile(
    context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource
) -> dg.AssetCheckResult:
    """Every well that was imaged has a row; wells whose sites all failed are listed, and wells without cells."""
    opened, plate = workspace.open(), context.partition_key
    imaged = opened.lake.read("sites", plate)["Metadata_Well"].unique()
    profiles = opened.lake.read("normalized_profiles", plate)
    absent = sorted(set(imaged) - set(profiles["Metadata_Well"]))
    lost = profiles.filter(Metadata_Count_Sites=0)["Metadata_Well"].to_list()
    empty = profiles.filter(pl.col("Metadata_Count_Sites") > 0, Metadata_Count_Cells=0)["Metadata_Well"].to_list()
    metadata = {
        "wells without a row": ", ".join(absent) or "none",
        "wells whose sites all failed": ", ".join(lost) or "none",
    }
    text = f"wells whose sites all failed: {_few(lost) or 'none'}; wells without a row: {_few(absent) or 'none'}"
    return dg.AssetCheckResult(
        passed=not absent and not lost,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={**metadata, "wells without cells": ", ".join(empty) or "none"},
    )


@dg.asset_check(asset="well_profiles")
def normalised_on_its_reference(
    context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource
) -> dg.AssetCheckResult:
    """The plate was normalised on the rows that the settings name, not on all its wells for want of these."""
    opened, plate = workspace.open(), context.partition_key
    reference = opened.settings.profiles.normalize.reference
    profiles = opened.lake.read("normalized_profiles", plate)
    used = profiles[NORMALIZED_ON].unique().to_list() if NORMALIZED_ON in profiles.columns else []
    faults = [f"fewer rows where {reference} than min_reference: normalised on all wells"] if used == ["all"] else []
    return _warning(
        faults if reference != "all" else [], f"normalised on: {', '.join(map(str, used)) or 'as published'}"
    )


@dg.asset_check(asset="well_profiles")
def platemap_fits(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """Wells of one treatment resemble each other as the platemap stands, not only if it were shifted or turned."""
    lake, plate = workspace.open().lake, context.partition_key
    # Published profiles may come normalised only; the comparison is within the plate and does not mind.
    read = [lake.read(table, plate) for table in ("well_profiles", "normalized_profiles") if lake.parts(table, plate)]
    measured = [profiles for profiles in read if feature_columns(profiles)]
    fit = map_fit(measured[0]) if measured else None
    fault = fit.fault if fit else None
    figures = f"{fit.z:.1f} standard deviations more alike than shuffled wells" if fit else "too few wells to tell"
    return _warning([fault] if fault else [], f"wells of one treatment: {figures}")


def _same_in_every_well(lake: Lake, plate: str) -> set[str]:
    if not lake.parts("well_profiles", plate):
        return set()
    profiles = lake.read("well_profiles", plate)
    names = feature_columns(profiles)
    if not names:
        return set()
    values = profiles.select(pl.col(names).drop_nulls().n_unique())
    return {name for name, number in zip(values.columns, values.row(0), strict=True) if number == 1}


@dg.asset_check(asset="well_profiles")
def finite_features(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
    """Of the wells with cells, under a twentieth of all feature values are missing; the emptiest features are named.

    What is the same in every well by nature, such as the depth of a flat image, has no scale and does not count.
    """
    opened, plate = workspace.open(), context.partition_key
    profiles = opened.lake.read("normalized_profiles", plate)
    profiles = profiles.filter(pl.col("Metadata_Count_Cells").fill_null(1) > 0)  # null: nobody counted
    same = _same_in_every_well(opened.lake, plate)
    names = [name for name in feature_columns(profiles) if name not in same]
    if not profiles.height or not names:
        return dg.AssetCheckResult(
            passed=False, description="no well has measurements", severity=dg.AssetCheckSeverity.WARN
        )
    missing = profiles.select(pl.col(names).null_count()).row(0)
    share = sum(missing) / (profiles.height * len(names))
    worst = sorted(zip(missing, names, strict=True), reverse=True)[:10]
    listed = ", ".join(f"{name} ({count} wells)" for count, name in worst if count) or "none"
    metadata = {"share missing": share, "emptiest features": listed}
    text = f"{share:.1%} of all feature values are missing (limit 5%)"
    severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(passed=share < 0.05, severity=severity, metadata=metadata, description=text)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(f"truth_{name}", asset="evaluation", description=f"{check.asks} Bound: {check.because}.")
        for name, check in TRUTH_CHECKS.items()
    ]
)
def truth(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> Iterator[dg.AssetCheckResult]:
    """What was found in simulated plates is what was planted, within each check's bound. Real plates pass: nothing is
    known of them."""
    metrics = workspace.open().lake.read("metrics", context.partition_key)
    rows = {row["metric"]: row for row in metrics.filter(pl.col("holds").is_not_null()).iter_rows(named=True)}
    for name in TRUTH_CHECKS:
        row = rows.get(name)
        known = {key: row[key] for key in ("value", "at_least", "at_most", "chance", "n")} if row else {}
        yield dg.AssetCheckResult(
            check_name=f"truth_{name}",
            passed=row is None or row["holds"],
            severity=dg.AssetCheckSeverity.WARN,
            metadata={key: value for key, value in known.items() if value is not None},
            description=None if row else "nothing to compare: the truth is not known, or holds nothing of this kind",
        )


CHECKS = [
    *(_failed_sites_check(stage) for stage in ("raw_images", "masks", "single_cells")),
    controls_present,
    wells_imaged_and_described,
    nuclear_stain_in_nuclei,
    no_fault_of_the_plate,
    stains_as_on_the_batch,
    every_well_has_a_profile,
    normalised_on_its_reference,
    platemap_fits,
    finite_features,
    truth,
]
