"""What a person looks at after a stage: counts, small tables and pictures of its commit, as metadata of its asset.

One function for each stage, of the commit and of the tables that it wrote and read.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Commit
from morpho_assets.workspace import Workspace

SHEET_ROWS = 6  # treatments of the contact sheet
LARGEST_PICTURE = 150_000  # bytes: a picture stays in the event log for ever

Metadata = dict[str, Any]


def pictures_of(workspace: Workspace, commit: Commit) -> Metadata:
    """The metadata of a stage's asset; a picture that cannot be drawn is told, and stops nothing."""
    snapshot = workspace.lake.snapshot([commit])
    before = (workspace.lake.ledger.read(read.stage, read.partition, read.number) for read in commit.reads)
    tables = workspace.lake.snapshot([*before, commit])
    shown: Metadata = {
        "dagster/row_count": sum(output.rows for output in commit.outputs.values()),
        "commit": commit.number,
        "content": commit.content,
        **{name: note for name, note in commit.notes.items() if isinstance(note, str | int | float)},
        **{
            name: small_table(pl.DataFrame(note, infer_schema_length=None), len(note))
            for name, note in commit.notes.items()
            if isinstance(note, list) and note and isinstance(note[0], dict)
        },
    }
    if commit.sites.total:
        shown |= {"sites": commit.sites.total, "failed sites": len(commit.sites.failed)}
    function = _PICTURES.get(commit.stage)
    if function is not None:
        try:
            shown |= function(workspace, commit, tables if commit.stage in _LOOKS_BACK else snapshot)
        except Exception as error:  # the work is committed; a picture is not worth failing for
            shown["pictures"] = f"could not be drawn: {type(error).__name__}: {error}"
    return shown


def picture(image: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """An image as metadata that the UI shows. Raises ValueError for one that is too large for the event log."""
    if len(image) > LARGEST_PICTURE:
        raise ValueError(f"picture {alt!r} has {len(image)} bytes, more than {LARGEST_PICTURE}")
    kind = "webp" if image[8:12] == b"WEBP" else "png" if image[:4] == b"\x89PNG" else "jpeg"
    return dg.MetadataValue.md(f"![{alt}](data:image/{kind};base64,{base64.b64encode(image).decode()})")


def small_table(frame: pl.DataFrame, rows: int = 20) -> dg.TableMetadataValue:
    """The first rows of a frame of few columns as a table in the UI."""
    records = [
        dg.TableRecord(
            {name: value if isinstance(value, int | float | str | bool) else str(value) for name, value in row.items()}
        )
        for row in frame.head(rows).iter_rows(named=True)
    ]
    columns = [dg.TableColumn(name, str(dtype).lower()) for name, dtype in frame.schema.items()]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _manifest(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    key = commit.partition.key
    wells, sites = tables.read("wells", key), tables.read("sites", key)
    counts = wells["Metadata_pert_type"].fill_null("none").value_counts(sort=True).sort("Metadata_pert_type")
    return {
        "images": sites.height,
        "wells imaged": sites["Metadata_Well"].n_unique(),
        "channels": ", ".join(sites["channel"].unique(maintain_order=True)),
        "negative control wells": int((wells["Metadata_control_type"] == "negcon").sum()),
        "wells by type": small_table(counts),
        "files": "\n".join(commit.notes["files"]),
    }


def _images(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    files = tables.read("image_files", commit.partition.key)
    missing = tables.read("site_failures", commit.partition.key)
    policy = workspace.settings.images.policy
    return {"gigabytes": float(files["bytes"].sum()) / 1e9, "missing images": missing.height, "policy": policy}


def _illumination(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    import numpy as np

    from morpho_assets.imaging.movies import WRITTEN

    functions = tables.read("illumination_functions", commit.partition.key)
    shown: Metadata = {"method": workspace.settings.illumination.method}
    if functions.height:
        from morpho_assets.report.figures import illumination_panel

        lake = workspace.lake
        drawn = functions.filter(~pl.col("path").str.ends_with(WRITTEN))  # those of movies are made at reading
        arrays = {row["channel"]: np.load(io.BytesIO(lake.read_bytes(row["path"]))) for row in drawn.to_dicts()}
        if arrays:
            shown["functions"] = picture(illumination_panel(arrays), "illumination functions")
        shown["range"] = small_table(functions.select("channel", "images", "minimum", "maximum"))
    return shown


def _quality(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    quality = tables.read("image_quality", commit.partition.key)
    flags = quality.group_by("channel", maintain_order=True).agg(pl.col("^flag_.*$").sum())
    shown: Metadata = {"flagged images": small_table(flags)}
    if quality.height and "ImageQuality_PowerLogLogSlope" in quality.columns:
        from morpho_assets.report.figures import plate_heatmap

        first = quality["channel"][0]
        wells = quality.filter(channel=first).group_by("Metadata_Well", maintain_order=True).agg(
            pl.col("ImageQuality_PowerLogLogSlope").mean()
        )  # fmt: skip
        title = f"{commit.partition.key}: focus of {first}"
        image = plate_heatmap(wells["Metadata_Well"].to_list(), wells["ImageQuality_PowerLogLogSlope"].to_list(), title,
                              "slope of power")  # fmt: skip
        shown["focus by well"] = picture(image, title)
    return shown


def _masks(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    from morpho_assets.imaging.sites import plate_reader
    from morpho_assets.report.plate import cells_heatmap, typical_site

    plate = commit.partition.key
    sites = tables.read("masks", plate)
    shown: Metadata = {
        "cells": int(sites["Count_Cells"].sum()),
        "cells per site (median)": float(sites["Count_Cells"].median() or 0),  # type: ignore[arg-type]
        "sites without cells": int((sites["Count_Cells"] == 0).sum()),
        "method": workspace.settings.segmentation.method,
    }
    if sites.height:
        wells = sites.group_by("Metadata_Well").agg(pl.col("Count_Cells").sum().alias("Metadata_Count_Cells"))
        shown["cells per well"] = picture(cells_heatmap(wells, plate), "cells per well")
        state = workspace.state([plate])
        reader = plate_reader(tables, workspace.source(plate, state).store(), plate)
        name, overlay, _ = typical_site(tables, reader, plate) or ("", b"", None)
        shown[f"outlines in {name}"] = picture(overlay, "outlines of nuclei and cells")
    return shown


def _cells(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    names = tables.scan("single_cells", [commit.partition.key]).collect_schema().names()
    modules = Counter(tuple(name.split("_")[:2]) for name in names if not name.startswith(("Metadata_", "Object")))
    families = [{"compartment": c, "module": m, "features": n} for (c, m), n in sorted(modules.items())]
    shown: Metadata = {"features": modules.total()}
    return shown | ({"features by module": small_table(pl.DataFrame(families), rows=40)} if families else {})


def _profiles(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    from morpho_assets.profiles.features import FEATURES, feature_columns
    from morpho_assets.report.figures import plate_heatmap

    plate = commit.partition.key
    profiles = tables.read("normalized_profiles", plate)
    counts = profiles["Metadata_Count_Cells"]
    shown: Metadata = {
        "features": len(feature_columns(profiles, FEATURES)),
        "negative control wells": int((profiles["Metadata_control_type"] == "negcon").sum()),
    }
    if tables.has("rejected_sites", plate) and (rejected := tables.read("rejected_sites", plate)).height:
        shown["rejected by people"] = small_table(rejected.drop("Metadata_Plate"), rows=40)
    if counts.null_count() < profiles.height:  # published profiles may not count their cells
        heatmap = plate_heatmap(profiles["Metadata_Well"].to_list(), counts.to_list(), f"{plate}: cells", "cells")
        shown |= {
            "cells per well (median)": float(counts.median() or 0),  # type: ignore[arg-type]
            "wells without cells": int((counts == 0).sum()),
            "cells per well": picture(heatmap, "cells per well"),
        }
    return shown


def _encoder(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    rows = tables.read("encoders", commit.partition.key).sort("fold")
    row = rows.row(0, named=True)
    shown: Metadata = {name: row[name] for name in ("encoder", "unit", "cells", "best_epoch", "split", "sha256")}
    if rows.height > 1:
        shown["folds"] = small_table(rows.select("fold", "cells", "best_epoch", "agreement"))
    if row["train_loss"]:
        from morpho_assets.report.figures import loss_curve

        image = loss_curve(row["train_loss"], row["validation_loss"])
        shown["loss"] = picture(image, "training and validation loss")
    return shown


def _spaces(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    profiles = tables.scan("profiles", [commit.partition.key]).select("space", "step").collect()
    sizes = profiles.group_by("space", "step", maintain_order=True).agg(pl.len().alias("wells"))
    dropped = tables.read("feature_selection", commit.partition.key)
    rules = dropped.group_by("space", "operation").len("features left out").sort("space", "operation")
    shown = {"spaces": small_table(sizes), "left out": small_table(rules)}
    if tables.has("correction_notes", commit.partition.key):
        shown["notes"] = small_table(tables.read("correction_notes", commit.partition.key).drop("study"))
    return shown


def _treatments(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    profiles = tables.scan("treatment_profiles", [commit.partition.key]).select("space").collect()
    return {"spaces": small_table(profiles.group_by("space", maintain_order=True).agg(pl.len().alias("treatments")))}


def _projections(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    from morpho_assets.report.figures import scatter

    points = tables.read("projections", commit.partition.key)
    wells = tables.scan("profiles", [commit.partition.key])
    kinds = pl.coalesce("Metadata_control_type", "Metadata_Perturbation").alias("group")
    keys = ["space", "step", "Metadata_Plate", "Metadata_Well"]
    points = points.join(wells.select(*keys, kinds).collect(), on=keys, how="left", maintain_order="left")
    shown: Metadata = {}
    for (space, method), frame in points.group_by("space", "method", maintain_order=True):
        title = f"{method} of {space}"
        image = scatter(frame.select("x", "y").to_numpy(), frame["group"].to_list(), title)
        shown[title] = picture(image, title)
    return shown


def _evaluation(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    metrics = workspace.lake.snapshot([commit]).read("metrics", commit.partition.key)
    overall = metrics.filter(pl.col("scope") == "overall").select(
        "variant", "evaluator", "metric", "value", "chance", "n"
    )
    headline = {
        f"{row['metric']} of {row['variant']}": float(row["value"])
        for row in overall.filter(pl.col("metric") == "mAP").iter_rows(named=True)
        if row["value"] is not None
    }
    return {**headline, "scores": small_table(overall, rows=40), **_hits(tables, commit.partition.key)}


def _hits(tables: Snapshot, study: str) -> Metadata:
    """The report's picture of the first space and evaluator: how surely each treatment is retrieved."""
    from morpho_assets.profiles.study import SHUFFLED
    from morpho_assets.report.figures import map_versus_p

    rows = tables.read("treatments", study).filter(~pl.col("variant").str.ends_with(SHUFFLED))
    if not rows.height:
        return {}
    variant, evaluator = rows.row(0, named=True)["variant"], rows.row(0, named=True)["evaluator"]
    rows = rows.filter(variant=variant, evaluator=evaluator)
    title = f"{evaluator}, {variant}"
    image = map_versus_p(rows["mAP"].to_list(), rows["q_value"].to_list(), rows["treatment"].to_list(), title)
    return {"treatments": picture(image, f"mean average precision against q of each treatment: {title}")}


def _montages(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    from morpho_assets.report.montage import contact_sheet

    rows = tables.read("montages", commit.partition.key)
    if not rows.height:
        return {"treatments with pictures": 0}
    text = f"cells of {', '.join(rows['treatment'].head(SHEET_ROWS))}, from above; left near the median, right extreme"
    sheet = picture(contact_sheet(rows.head(SHEET_ROWS)), text)
    return {"treatments with pictures": rows["treatment"].n_unique(), "cells": sheet, "rows from above": text}


def _report(workspace: Workspace, commit: Commit, tables: Snapshot) -> Metadata:
    page = f"{workspace.settings.reports}/{commit.partition.key}/report.html"
    return {"report": dg.MetadataValue.path(page)}


_PICTURES: Mapping[str, Callable[[Workspace, Commit, Snapshot], Metadata]] = {
    "plate_manifest": _manifest,
    "raw_images": _images,
    "illumination": _illumination,
    "image_quality": _quality,
    "masks": _masks,
    "single_cells": _cells,
    "well_profiles": _profiles,
    "encoder": _encoder,
    "feature_space": _spaces,
    "corrected_profiles": _spaces,
    "treatment_profiles": _treatments,
    "projections": _projections,
    "evaluation": _evaluation,
    "montages": _montages,
    "report": _report,
}
_LOOKS_BACK = {"masks", "projections"}
"""Stages whose pictures show what they read, too."""
