"""Checks on images: are nuclei, cells, faults and drifting stains found where they were planted?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.evaluate.segmentation import f1_of
from morpho_assets.evaluate.truth.checks import Finding
from morpho_assets.evaluate.truth.statistics import spearman
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.quality import stain_drift
from morpho_assets.imaging.segmentation.objects import areas, relabelled, touching_border

SITE = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
IOU = 0.5

Labels = NDArray[np.int32]


def segmentation(sites: Iterable[tuple[str, dict[str, Labels], dict[str, Labels]]]) -> Iterator[Finding]:
    """`nuclei_f1`, `cells_f1` and `count_error` of sites (name, true and found labels by compartment).

    A nucleus at the border goes, with its cell, on both sides: CellProfiler leaves it out, others keep it. A site
    without cells on either side counts as found.
    """
    nuclei, cells, errors = [], [], []
    for name, truth, found in sites:
        truth, found = _inside(truth), _inside(found)
        single = _separate(truth["nuclei"])
        true_cells, found_cells = (int(np.count_nonzero(areas(x["cells"]))) for x in (truth, found))
        nuclei.append((name, float(single.max(initial=0)), f1_of(overlap(single, found["nuclei"]), IOU)))
        cells.append((name, float(true_cells), f1_of(overlap(truth["cells"], found["cells"]), IOU)))
        errors.append((name, float(true_cells), float(found_cells)))
    if nuclei:
        yield Finding("nuclei_f1", float(np.mean([f1 for *_, f1 in nuclei])), len(nuclei), 0.0, nuclei)
        yield Finding("cells_f1", float(np.mean([f1 for *_, f1 in cells])), len(cells), 0.0, cells)
        off = [abs(found - true) / max(true, 1.0) for _, true, found in errors]
        yield Finding("count_error", float(np.mean(off)), len(errors), None, errors)


def _inside(labels: dict[str, Labels]) -> dict[str, Labels]:
    """The cells whose nucleus does not touch the border; nucleus and cell have one number."""
    gone = np.flatnonzero(touching_border(labels["nuclei"]))
    return {name: np.where(np.isin(plane, gone), 0, plane).astype(np.int32) for name, plane in labels.items()}


def _separate(nuclei: Labels) -> Labels:
    """Each nucleus of a binucleate cell as an object of its own, unless they touch."""
    from skimage.measure import label

    pieces = np.asarray(label(nuclei, connectivity=1), dtype=np.int32)
    return relabelled(pieces, areas(pieces) > 0)


def quality_flags(sites: pl.DataFrame, quality: pl.DataFrame) -> Iterator[Finding]:
    """Precision and recall of flags for sites out of focus and over-exposed images.

    `sites` is the truth (columns SITE, `focus` in pixels, `saturated` a channel or empty), `quality` the table
    `image_quality`. A recall is absent where nothing was planted, a precision where nothing is flagged.
    """
    focus = quality.group_by(SITE).agg(pl.col("flag_out_of_focus").any().cast(pl.Float64).alias("found"))
    focus = _joined(sites.select(*SITE, planted=(pl.col("focus") > 0).cast(pl.Float64)), focus, SITE)
    yield from _precision_and_recall("focus", focus, focus)

    exposed = sites.select(*SITE, pl.col("saturated").alias("over"))
    images = _joined(quality, exposed, SITE).with_columns(
        planted=(pl.col("over") == pl.col("channel")).cast(pl.Float64)
    )
    flagged = images.with_columns(found=pl.col("flag_saturated").cast(pl.Float64))
    noticed = images.with_columns(found=pl.any_horizontal("flag_saturated", "flag_debris").cast(pl.Float64))
    yield from _precision_and_recall("saturation", flagged, noticed)


def _joined(left: pl.DataFrame, right: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    same = [pl.col(name).cast(left.schema[name]) for name in keys]
    return left.join(right.with_columns(same), on=keys, how="inner", maintain_order="left")


def _precision_and_recall(name: str, flagged: pl.DataFrame, noticed: pl.DataFrame) -> Iterator[Finding]:
    """Recall counts what is `noticed`, precision what is `flagged`: frames of SITE, `planted` and `found` in {0, 1}."""
    for metric, frame, given, wanted in (("recall", noticed, "planted", "found"),
                                         ("precision", flagged, "found", "planted")):  # fmt: skip
        rows = frame.filter(pl.col(given) > 0)
        if rows.height:
            chance = float(frame[wanted].to_numpy().mean())
            units = rows.select(pl.concat_str(SITE, separator=" "), "planted", "found")
            yield Finding(f"{name}_{metric}", float(rows[wanted].to_numpy().mean()), rows.height, chance,
                          list(units.iter_rows()))  # fmt: skip


def stains(wells: pl.DataFrame, quality: pl.DataFrame) -> Iterator[Finding]:
    """`drift`, `drift_recall` and `drift_precision`: planted gains (`gain_<channel>` of each well) against what
    `stain_drift` measures.

    Nothing for fewer than three plates; no recall where nothing is due, no precision where nothing is flagged.
    """
    if wells["Metadata_Plate"].n_unique() < 3:
        return
    gains = wells.unpivot(pl.selectors.starts_with("gain_"), index="Metadata_Plate", variable_name="channel")
    gains = gains.with_columns(pl.col("channel").str.strip_prefix("gain_"))
    keys = ["Metadata_Plate", "channel"]
    keys = ["Metadata_Plate", "channel"]
    # Limits twice those of the flag: what is planted at the limit itself is measured on either side of it.
    planted = stain_drift(gains, value="value", z=7, least_change=0.4)
    planted = planted.select(*keys, planted="log2_ratio", due="flag_stain_drift")
    both = planted.join(stain_drift(quality), on=keys, maintain_order="left").drop_nulls("log2_ratio")
    names = pl.concat_str(keys, separator=" ")
    points = list(both.select(names, "planted", "log2_ratio").iter_rows())
    yield Finding("drift", spearman(both["planted"], both["log2_ratio"]), both.height, 0.0, points)
    off = both.with_columns(right=pl.col("planted") * pl.col("log2_ratio").sign() >= np.log2(1.1))
    for metric, given, wanted in (("recall", "due", "flag_stain_drift"), ("precision", "flag_stain_drift", "right")):
        rows = off.filter(given)
        if rows.height:
            chance, value = (float(frame[wanted].to_numpy().mean()) for frame in (off, rows))
            yield Finding(f"drift_{metric}", value, rows.height, chance)
