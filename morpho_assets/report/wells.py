"""The wells of a study as packed columns: what plate maps and maps of spaces are drawn from, in the browser."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.lake.lake import Snapshot
from morpho_assets.report.figures.plates import well_place
from morpho_assets.report.moved import Moved, words
from morpho_assets.report.page import rounded

NONE = 65535
"""Stands for no value in a packed column; 0 to 65534 are from its lowest to its highest."""
FEATURES = 16  # of the normalised profiles that can be shown on plates: those that differ most between treatments
ROBUST = (0.5, 99.5)  # percentiles of a column that are the ends of its colours: one well does not drown the others
KEYS = ["Metadata_Plate", "Metadata_Well"]
_COUNTS = {
    "Metadata_Count_Cells": "cells", "Metadata_Count_Failed_Sites": "failed sites",
    "Metadata_Count_Flagged_Sites": "flagged sites", "Metadata_Count_Implausible_Cells": "implausible cells",
}  # fmt: skip
_FOCUS = "ImageQuality_PowerLogLogSlope"
_MAPS = {"umap": "UMAP", "tsne": "t-SNE"}


def ordered_wells(wells: pl.DataFrame) -> pl.DataFrame:
    """The wells in the order in which the page numbers them: by plate, row and column."""
    places = [well_place(name) for name in wells["Metadata_Well"]]
    place = pl.Series("place", [64 * row + column for row, column in places], pl.Int64)
    return wells.with_columns(place).sort("Metadata_Plate", "place")


def packed_wells(
    inputs: Snapshot, wells: pl.DataFrame, numbers: Mapping[str, int], moved: Moved, projections: pl.DataFrame,
    phenotypes: pl.DataFrame,
) -> dict[str, Any]:  # fmt: skip
    """The data of the page's plates and maps. `wells` are `ordered_wells`, `numbers` those of treatments on the page,
    `phenotypes` the rows of `phenotype_profiles` (none without phenotypes)."""
    plates = wells.select("Metadata_Plate", "Metadata_Batch").unique("Metadata_Plate", maintain_order=True)
    names = plates["Metadata_Plate"].to_list()
    number = {name: at for at, name in enumerate(names)}
    keys = wells.select(KEYS)
    columns = [_column(text, "counts", wells[name]) for name, text in _COUNTS.items() if name in wells.columns]
    columns += _quality(inputs, names, keys)
    columns += _phenotypes(phenotypes, keys)
    columns += _features(inputs, names, keys, moved)
    return {
        "plates": [{"name": name, "batch": batch or "no batch"} for name, batch in plates.iter_rows()],
        "place": packed(wells["place"].to_numpy()),
        "plate": packed(np.array([number[name] for name in wells["Metadata_Plate"]])),
        "treatment": packed(np.array([numbers.get(name, NONE) for name in wells["Metadata_Perturbation"]])),
        "columns": [column for column in columns if column is not None],
        "maps": _maps(projections, keys),
    }


def packed(values: NDArray[Any]) -> str:
    """Base64 of integers of 16 bits, little-endian."""
    return base64.b64encode(np.asarray(values).astype("<u2").tobytes()).decode()


def quantised(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint16]:
    """Values as 0 to 65534 between `low` and `high`, those outside as the ends; NONE where not finite."""
    span = high - low or 1.0
    share = np.clip((values - low) / span, 0, 1)
    return np.where(np.isfinite(values), np.round(np.nan_to_num(share) * 65534), NONE).astype(np.uint16)


def _column(name: str, group: str, series: pl.Series) -> dict[str, Any] | None:
    values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    whole = bool(np.all(finite == np.round(finite)))
    low, high = (finite.min(), finite.max()) if whole else np.percentile(finite, ROBUST)
    return {
        "name": name, "group": group, "low": rounded(float(low)), "high": rounded(float(high)),
        "data": packed(quantised(values, float(low), float(high))),
    }  # fmt: skip


def _quality(inputs: Snapshot, plates: Sequence[str], keys: pl.DataFrame) -> list[dict[str, Any] | None]:
    """Focus of each stain, the mean over a well's sites."""
    frames = [
        inputs.read("image_quality", plate).group_by(*KEYS, "channel", maintain_order=True).agg(pl.col(_FOCUS).mean())
        for plate in plates
        if inputs.has("image_quality", plate) and _FOCUS in inputs.scan("image_quality", [plate]).collect_schema()
    ]
    if not frames:
        return []
    rows = pl.concat(frames)
    wide = keys.join(rows.pivot("channel", index=KEYS, values=_FOCUS), on=KEYS, how="left",
                     maintain_order="left")  # fmt: skip
    return [_column(f"{name}: focus (slope of power)", "image quality", wide[name]) for name in wide.columns[2:]]


def _phenotypes(profiles: pl.DataFrame, keys: pl.DataFrame) -> list[dict[str, Any] | None]:
    columns: list[dict[str, Any] | None] = []
    for (model,), rows in profiles.group_by("model", maintain_order=True):
        names = [name for name in rows.columns if name.startswith("Phenotype_") and rows[name].count()]
        wide = keys.join(rows.select(*KEYS, *names), on=KEYS, how="left", maintain_order="left")
        columns += [_column(f"{model}: {name.removeprefix('Phenotype_')}", "phenotypes", wide[name]) for name in names]
    return columns


def _features(inputs: Snapshot, plates: Sequence[str], keys: pl.DataFrame, moved: Moved) -> list[dict[str, Any] | None]:
    """The features in words that differ most between treatments; one of each compartment, stain and kind."""
    if not len(moved.features):
        return []
    spread = np.nan_to_num(np.nanstd(np.where(np.isfinite(moved.mean), moved.mean, 0), axis=0))
    within = np.nan_to_num(np.nanmean(np.where(np.isfinite(moved.spread), moved.spread, 0), axis=0))
    chosen: dict[tuple[str, str, str], str] = {}
    for at in np.argsort(-spread / (1 + within), kind="stable"):
        told = words(moved.features[at])
        assert told is not None
        chosen.setdefault((told.compartment, told.stain, told.kind.partition(" ")[0]), moved.features[at])
        if len(chosen) == FEATURES:
            break
    frames = []
    for plate in plates:
        scan = inputs.scan("normalized_profiles", [plate])
        schema = scan.collect_schema()
        there = [name for name in chosen.values() if name in schema]
        frames.append(scan.select(*KEYS, *there).collect())
    wide = keys.join(pl.concat(frames, how="diagonal"), on=KEYS, how="left", maintain_order="left")
    return [_column(f"{name} (SD of controls)", "features", wide[name]) for name in chosen.values()]


def _maps(projections: pl.DataFrame, keys: pl.DataFrame) -> list[dict[str, Any]]:
    """Each map of each space, at the places of the wells."""
    maps = []
    for (space, step, method), rows in projections.group_by("space", "step", "method", maintain_order=True):
        at = keys.join(rows.select(*KEYS, "x", "y").unique(KEYS, maintain_order=True), on=KEYS, how="left",
                       maintain_order="left")  # fmt: skip
        axes = {}
        for name in ("x", "y"):
            values = at[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            finite = values[np.isfinite(values)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
            axes[name] = packed(quantised(values, low, high))
        maps.append({"name": f"{_MAPS[str(method)]} of {space}, {step}", **axes})
    return maps
