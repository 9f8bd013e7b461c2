"""How well a segmentation agrees with a reference, object by object.

All scores come from one contingency table: how many pixels each true object shares with each predicted one.
The evaluator scores the masks of the study's plates where a user has true label images, drawn by hand or simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.errors import InputError
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.overlap import Labels, Overlap, overlap
from morpho_assets.imaging.segmentation.external import site_path
from morpho_assets.imaging.segmentation.objects import EIGHT, areas, relabelled, touching_border
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites
from morpho_assets.lake.lake import Snapshot

DSB_THRESHOLDS = tuple(float(t) for t in np.arange(50, 100, 5) / 100)
LEAST_AREA = 20  # pixels: smaller pieces of the trivial baseline are noise
STAINS = {"nuclei": ("DNA",), "cells": ("RNA", "AGP", "ER")}  # what the trivial baseline is found on


def instance_f1(truth: Labels, predicted: Labels, iou: float = 0.5) -> float:
    """2 TP / (2 TP + FP + FN) of objects matched one to one at `iou` (higher is better; 1 where both are empty)."""
    return f1_of(overlap(truth, predicted), iou)


def f1_of(table: Overlap, iou: float) -> float:
    """`instance_f1` from a contingency table at hand."""
    objects = table.truth_area.size + table.predicted_area.size
    return 2 * table.matches(iou).size / objects if objects else 1.0


def map_dsb(truth: Labels, predicted: Labels) -> float:
    """Mean over IoU 0.5, 0.55 … 0.95 of TP / (TP + FP + FN), the score of the 2018 Data Science Bowl.

    1 where both are empty. Source: Caicedo et al. 2019, doi:10.1038/s41592-019-0612-7.
    """
    return map_dsb_of(overlap(truth, predicted))


def map_dsb_of(table: Overlap) -> float:
    """`map_dsb` from a contingency table at hand."""
    objects = table.truth_area.size + table.predicted_area.size
    if not objects:
        return 1.0
    hits = np.array([table.matches(iou).size for iou in DSB_THRESHOLDS])
    return float(np.mean(hits / (objects - hits)))


def dice(truth: Labels, predicted: Labels) -> float:
    """2 |A and B| / (|A| + |B|) of the two foregrounds, whatever the objects (1 where both are empty)."""
    foreground, found = truth > 0, predicted > 0
    total = int(foreground.sum()) + int(found.sum())
    return 2 * int((foreground & found).sum()) / total if total else 1.0


def count_error(truth: Labels, predicted: Labels) -> float:
    """(predicted - true) / true number of objects: signed, 0 is best; infinite where objects are found in none."""
    return _relative(np.count_nonzero(areas(truth)), np.count_nonzero(areas(predicted)))


def _relative(true: int, found: int) -> float:
    if true == 0:
        return 0.0 if found == 0 else float("inf")
    return (found - true) / true


class SegmentationScoresConfig(BaseModel):
    """Masks against true label images that a user has, one integer TIFF or PNG per compartment and site."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["segmentation"] = "segmentation"
    nuclei: str | None = Field(
        default=None, description="path of a site's true nuclei, with {plate}, {well}, {site} for what names the site"
    )
    cells: str | None = Field(default=None, description="path of a site's true cells, likewise")
    folder: Path | None = Field(
        default=None,
        description="folder that relative paths start from, itself relative to the settings file; none: that file's",
    )
    border: Literal["discard", "keep"] = Field(
        default="discard", description="objects that touch the image's edge, true or found: left out, or scored"
    )

    @model_validator(mode="after")
    def _some_truth(self) -> SegmentationScoresConfig:
        if self.nuclei is None and self.cells is None:
            raise ValueError("name the true label images of nuclei, of cells or of both")
        return self


def segmentation_scores(
    inputs: Snapshot, readers: Mapping[str, SiteReader], config: SegmentationScoresConfig, seed: int
) -> Evaluation:
    """Scores of the masks of these plates (plate to reader), by plate and compartment, where true labels exist.

    F1 at IoU 0.5 and 0.7, mAP_DSB and Dice are means over sites with a bootstrap interval over them; the count error
    is that of all sites together. `chance` is what one Otsu threshold of the compartment's first channel and its
    connected pieces score; `n` is the number of true objects. A site without a file is left out. Raises InputError
    where no site has one, ImageError for a file that is no label image of the site's size.
    """
    rows: list[dict[str, object]] = []
    for plate, reader in readers.items():
        for compartment in ("nuclei", "cells"):
            pattern = getattr(config, compartment)
            scored = [] if pattern is None else list(_scored_sites(inputs, reader, plate, compartment, pattern, config))
            if scored:
                rows += _rows(f"{plate}, {compartment}", scored, seed)
    if not rows:
        expected = "label images of some site of the study's plates"
        raise InputError("evaluators", "segmentation", "no file that its paths name", expected, "Correct the paths.")
    return Evaluation(metrics_frame(rows))


_Scores = dict[str, float]  # of one site: the scores that are averaged, and `count`, the objects found


def _scored_sites(
    inputs: Snapshot, reader: SiteReader, plate: str, compartment: str, pattern: str, config: SegmentationScoresConfig
) -> Iterator[tuple[int, _Scores, _Scores]]:
    """Of each site with a true label image: its true objects, the scores of the masks and those of the baseline."""
    masks = {(row["Metadata_Well"], row["Metadata_Site"]): row for row in
             inputs.read("masks", plate).iter_rows(named=True)}  # fmt: skip
    for site in complete_sites(inputs, plate):
        row = masks.get((site.well, site.site))
        path = site_path(pattern, config.folder, site.names)
        if row is None or not path.is_file():
            continue
        found = read_labels(reader.lake.read_bytes(row[compartment]), name=row[compartment])
        truth, trivial = read_labels(path, shape=found.shape), one_threshold(_plane(reader, site, compartment))
        if config.border == "discard":
            truth, found, trivial = (_without_border(labels) for labels in (truth, found, trivial))
        yield int(np.count_nonzero(areas(truth))), _scores(truth, found), _scores(truth, trivial)


def _scores(truth: Labels, found: Labels) -> _Scores:
    table = overlap(truth, found)
    scores = {"F1_50": f1_of(table, 0.5), "F1_70": f1_of(table, 0.7), "mAP_DSB": map_dsb_of(table)}
    return {**scores, "Dice": dice(truth, found), "count": table.predicted_area.size}


def _rows(scope: str, scored: list[tuple[int, _Scores, _Scores]], seed: int) -> list[dict[str, object]]:
    true = sum(count for count, _, _ in scored)
    rows = []
    for metric in ("F1_50", "F1_70", "mAP_DSB", "Dice"):
        values = [found[metric] for _, found, _ in scored]
        chance = float(np.mean([trivial[metric] for _, _, trivial in scored]))
        interval = mean_interval(values, seed)
        rows.append(metric_row("segmentation", scope, metric, float(np.mean(values)), true, chance, interval))
    found, trivial = (int(sum(site["count"] for site in sites)) for sites in list(zip(*scored, strict=True))[1:])
    return [
        *rows,
        metric_row("segmentation", scope, "count_error", _relative(true, found), true, _relative(true, trivial)),
    ]


def one_threshold(plane: NDArray[np.float32]) -> NDArray[np.int32]:
    """The trivial segmentation: connected pieces of (H, W) above Otsu's threshold, without specks."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    if np.ptp(plane) == 0:
        return np.zeros(plane.shape, dtype=np.int32)
    pieces, _ = ndimage.label(plane > threshold_otsu(plane), structure=EIGHT)
    return relabelled(pieces, areas(pieces) >= LEAST_AREA)


def _plane(reader: SiteReader, site: Site, compartment: str) -> NDArray[np.float32]:
    wanted = STAINS[compartment]
    channel = next((name for name in wanted if name in site.channels), site.channels[0])
    return reader.read_channel(site, site.channels.index(channel))


def _without_border(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    return relabelled(labels, (areas(labels) > 0) & ~touching_border(labels))
