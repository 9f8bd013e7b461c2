"""Cells of each treatment beside its plate's controls, in all stains at one contrast: the pictures of a hit.

Of each treatment one well is shown, the one nearest to the mean of its wells, and of the plate of that well one well of
negative controls. Half of the cells are those nearest to the median of their well, half those nearest to its far end
(the EXTREME quantile) along the direction in which the treatment moves its cells. Nothing is chosen by hand.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import isqrt
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.compute import map_items
from morpho_assets.errors import ImageError, LakeError
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, plate_reader
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.report.figures.fields import cell_strips, outlines, stain_colours

CELLS = 4  # near the median, and as many near the extreme; of a well with fewer cells half of them each
LEAST_CELLS = 2
EXTREME = 0.95
DIRECTION = 40  # features that the direction is made of: those that the well moved most
DARK = 1.0  # percentile of the controls' pixels that is black
BRIGHT = 75.0  # percentile of the brightest pixels of the controls' cells that is white: dust beside them is none
LARGEST_SIDE = 64  # px of a shown cell; a larger window is shrunk
# Bytes of one treatment's cells, so that a report stays small enough to be sent: many treatments get less each.
BUDGET, LEAST, MOST = 14_000_000, 5_000, 40_000
QUALITIES = (85, 75, 60, 45, 30, 15, 5)
BITS = 0.8  # a pixel of a picture needs, to be worth looking at: where there are fewer, cells are shown smaller


@dataclass(frozen=True)
class Shown:
    """A well that is shown: of which site and cells, and what is compared (near the median or the extreme)."""

    treatment: str
    plate: str
    well: str
    site: Site
    nuclei: str
    cells: str
    objects: tuple[int, ...]
    near: tuple[str, ...]
    centres: tuple[tuple[float, float], ...]
    side: int


def montages(work: Work) -> None:
    """The table `montages` of a study: a row per treatment, and per plate one of its negative controls."""
    study, plates = work.key, list(work.source)
    pairs = _chosen_wells(work.inputs, plates)
    budget = int(np.clip(BUDGET / max(len(pairs), 1), LEAST, MOST))
    rows: list[dict[str, Any]] = []
    readers, jobs = {}, []
    for plate, wells in pairs.partition_by("Metadata_Plate", as_dict=True, maintain_order=True).items():
        key = str(plate[0])
        readers[key] = plate_reader(work.inputs, work.source[key].store(), key)
        groups = list(_of_plate(work.inputs, key, wells))
        if groups:
            jobs.append((key, work.source[key].described().pixel_size, groups))
    draw = partial(_drawn, work.lake, readers, budget)
    for _, found in map_items(draw, jobs, work.compute, work.progress, "cells of treatments"):
        if not isinstance(found, ImageError):  # the sites that it failed on are in site_failures
            rows += found
    empty = table("montages").empty()
    frame = pl.DataFrame(rows, schema=empty.schema, orient="row") if rows else empty
    work.write("montages", frame.with_columns(pl.lit(study).alias("study")).sort("treatment", "Metadata_Plate"))


def _chosen_wells(inputs: Snapshot, plates: Sequence[str]) -> pl.DataFrame:
    """Metadata_Plate, Metadata_Well, treatment of one well per treatment, and of a control well of each such plate: the
    well whose features are nearest to the mean of its treatment's wells."""
    frames = []
    for plate in plates:
        if not inputs.read("masks", plate).height:
            continue  # published or measured elsewhere: there are no images
        scan = inputs.scan("normalized_profiles", [plate]).filter(pl.col("Metadata_Count_Cells") >= LEAST_CELLS)
        names = feature_columns(scan)[:: max(1, len(feature_columns(scan)) // 200)]
        keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Perturbation", "Metadata_control_type"]
        found = scan.select(*keys, pl.col(names).cast(pl.Float32)).collect().drop_nulls("Metadata_Perturbation")
        if found.height:
            frames.append(found)
    if not frames:
        return pl.DataFrame(schema={"Metadata_Plate": pl.String, "Metadata_Well": pl.String, "treatment": pl.String})
    wells = pl.concat(frames, how="diagonal").rename({"Metadata_Perturbation": "treatment"})
    matrix = np.clip(np.nan_to_num(to_matrix(wells, feature_columns(wells))), -20, 20)
    treatment = wells["treatment"].to_numpy()
    negative = (wells["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    # Controls are chosen plate by plate, treatments over all plates.
    group = np.where(negative, wells["Metadata_Plate"].to_numpy(), treatment)
    _, places = np.unique(np.stack([negative.astype(str), group.astype(str)]), axis=1, return_inverse=True)
    sums, count = np.zeros((places.max() + 1, matrix.shape[1])), np.bincount(places)
    np.add.at(sums, places, matrix)
    apart = np.linalg.norm(matrix - (sums / count[:, None])[places], axis=1)
    wells = wells.select("Metadata_Plate", "Metadata_Well", "treatment").with_columns(
        apart=pl.Series(apart), group=pl.Series(places), negative=pl.Series(negative)
    )
    first = wells.sort("apart", "Metadata_Plate", "Metadata_Well").unique("group", keep="first", maintain_order=True)
    shown = first.filter(~pl.col("negative"))["Metadata_Plate"].unique()
    first = first.filter(~pl.col("negative") | pl.col("Metadata_Plate").is_in(shown.to_list()))
    return first.sort("Metadata_Plate", "negative", "treatment", descending=[False, True, False])


def _of_plate(inputs: Snapshot, plate: str, wells: pl.DataFrame) -> Iterator[Shown]:
    """The cells to show of the chosen wells of a plate; the controls' first."""
    names = wells["Metadata_Well"].to_list()
    profiles = inputs.scan("normalized_profiles", [plate]).filter(pl.col("Metadata_Well").is_in(names)).collect()
    features = feature_columns(profiles)
    shifts = np.clip(np.nan_to_num(to_matrix(profiles, features)), -20, 20)
    row_of = {name: row for row, name in enumerate(profiles["Metadata_Well"])}
    far = {name: np.argsort(-np.abs(shifts[row]), kind="stable")[:DIRECTION] for name, row in row_of.items()}
    there = set(inputs.scan("single_cells", [plate]).collect_schema().names())
    wanted = sorted({features[at] for places in far.values() for at in places} & there)
    keys = ["Metadata_Well", "Metadata_Site", "ObjectNumber"]
    masks = inputs.read("masks", plate).filter(pl.col("Metadata_Well").is_in(names))
    fullest = masks.sort("Count_Cells", "Metadata_Site", descending=[True, False]).unique(
        "Metadata_Well", keep="first", maintain_order=True
    )
    scan = inputs.scan("single_cells", [plate]).filter(pl.col("Metadata_Well").is_in(names)).select(*keys, *wanted)
    cells = scan.collect().join(fullest.select(keys[:2]), on=keys[:2], how="semi").sort(keys)
    objects = inputs.scan("objects", [plate]).filter(pl.col("Metadata_Well").is_in(names)).collect()
    side = _side(objects)
    sites = {(site.well, site.site): site for site in complete_sites(inputs, plate)}
    values = to_matrix(cells, wanted)
    of_controls = (cells["Metadata_Well"] == names[0]).to_numpy()
    middle, spread = _robust(values[of_controls] if wells["negative"][0] else values)
    z = np.clip(np.nan_to_num((values - middle) / spread), -8, 8)
    masks_of = {(row["Metadata_Well"], row["Metadata_Site"]): row for row in fullest.iter_rows(named=True)}
    for well, treatment in wells.select("Metadata_Well", "treatment").iter_rows():
        mine = np.flatnonzero((cells["Metadata_Well"] == well).to_numpy())
        if len(mine) < LEAST_CELLS or well not in row_of:
            continue
        inside = _inside(cells[mine.tolist()], objects, side)
        mine = mine[inside] if inside.sum() >= 2 * CELLS else mine
        weights = np.array([shifts[row_of[well], features.index(name)] for name in wanted])
        weights[[features.index(name) not in far[well] for name in wanted]] = 0
        score = z[mine] @ (weights / max(float(np.linalg.norm(weights)), 1e-9))
        chosen, near = _near(score)
        place = (well, int(cells["Metadata_Site"][int(mine[0])]))
        found = cells[mine[chosen].tolist()].select(keys).join(objects, on=keys, how="left", maintain_order="left")
        if place not in sites or found["Nuclei_Center_Y"].null_count():
            continue
        centres = tuple(found.select("Nuclei_Center_Y", "Nuclei_Center_X").iter_rows())
        row = masks_of[place]
        yield Shown(treatment, plate, well, sites[place], row["nuclei"], row["cells"],
                    tuple(found["ObjectNumber"].to_list()), near, centres, side)  # fmt: skip


def _near(score: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The places of CELLS cells near the median of a score and of as many others near its EXTREME quantile; of fewer
    than twice as many cells, half of them each."""
    count = min(CELLS, len(score) // 2)
    median = np.argsort(np.abs(score - np.median(score)), kind="stable")[:count]
    left = np.setdiff1d(np.arange(len(score)), median)
    extreme = left[np.argsort(np.abs(score[left] - np.quantile(score, EXTREME)), kind="stable")[:count]]
    return np.concatenate([np.sort(median), np.sort(extreme)]), ("median",) * count + ("extreme",) * count


def _robust(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and 1.4826 MAD of each column; 1 where all are the same or missing."""
    if not values.size:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    values = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(values).all(axis=0)
    values[:, empty] = 0
    middle = np.nanmedian(values, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(values - middle), axis=0)
    return middle, np.where(spread > 0, spread, 1.0)


def _inside(cells: pl.DataFrame, objects: pl.DataFrame, side: int) -> NDArray[np.bool_]:
    """Which cells have a window that does not reach beyond the upper and left border, nor beyond the outermost nuclei:
    of the image's size nothing is known before it is read."""
    keys = ["Metadata_Well", "Metadata_Site", "ObjectNumber"]
    place = cells.select(keys).join(objects, on=keys, how="left", maintain_order="left")
    inside = np.ones(cells.height, dtype=bool)
    for name in ("Nuclei_Center_X", "Nuclei_Center_Y"):
        centre = place[name].fill_null(0).to_numpy()
        inside &= (centre >= side / 2) & (centre <= float(objects[name].max() or 0) - side / 4)  # type: ignore[arg-type]
    return inside


def _side(objects: pl.DataFrame) -> int:
    """Pixels of a square window that holds nearly every cell of a plate."""
    area = objects["Cells_Area"].quantile(0.9) if objects.height else None
    return int(np.clip(1.5 * np.sqrt(area or 900), 24, 400)) // 2 * 2


# Drawing


def _drawn(
    lake: Lake, readers: Mapping[str, SiteReader], budget: int, job: tuple[str, float | None, list[Shown]]
) -> list[dict[str, Any]]:
    """The rows of one plate's wells, all at the contrast of its controls (of all wells where it has none)."""
    plate, micrometres, wells = job
    reader = readers[plate]
    if micrometres is None:
        micrometres = pixel_size(reader.content(wells[0].site, 0))
    windows: list[tuple[Shown, NDArray[Any], list[NDArray[Any]]]] = []
    for shown in wells:
        image = reader.read(shown.site)
        masks = [read_labels(lake.read_bytes(path), name=path) for path in (shown.nuclei, shown.cells)]
        if len(windows) == 0:
            low, high = _contrast(image, masks[1])
        windows.append((shown, _windows(image, shown), [_windows(mask[None], shown) for mask in masks]))
    shown_side = side_within(budget, wells[0].side, len(wells[0].site.channels))
    scale = wells[0].side / shown_side
    rows = []
    for shown, image, masks in windows:
        grey = np.clip((image - low[:, None, None]) / np.maximum(high - low, 1e-9)[:, None, None], 0, 1)
        lines = [_outlined(mask[:, 0], shown.objects) for mask in masks]
        rows.append({
            "treatment": shown.treatment, "Metadata_Plate": plate, "Metadata_Well": shown.well,
            "Metadata_Site": shown.site.site, "objects": list(shown.objects), "near": list(shown.near),
            "channels": list(shown.site.channels), "low": low.tolist(), "high": high.tolist(), "side": shown_side,
            "micrometres": None if micrometres is None else micrometres * scale,
            "picture": _webp(_tiles(grey, shown_side), budget), "outlines": _png(lines, shown_side),
        })  # fmt: skip
    return rows


def _contrast(image: NDArray[Any], cells: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(C,) of an image (C, H, W) what is shown as black and as white, by its cells."""
    from scipy.ndimage import maximum

    numbers = np.unique(cells[cells > 0])
    brightest = np.stack([maximum(plane, cells, numbers) for plane in image])
    return np.percentile(image, DARK, axis=(1, 2)), np.percentile(brightest, BRIGHT, axis=1)


def _windows(image: NDArray[Any], shown: Shown) -> NDArray[Any]:
    """(cells, C, side, side) around the nuclei of an image (C, H, W); 0 beyond its border."""
    half = shown.side // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)))
    corners = [(round(y), round(x)) for y, x in shown.centres]
    return np.stack([padded[:, y : y + shown.side, x : x + shown.side] for y, x in corners])


def _outlined(masks: NDArray[np.int32], objects: Sequence[int]) -> NDArray[np.bool_]:
    """(cells, side, side): the outline of each window's own cell."""
    return np.stack([outlines(np.where(mask == number, 1, 0)) for mask, number in zip(masks, objects, strict=True)])


def _tiles(windows: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """One grey picture: a row per channel, a column per cell."""
    from PIL import Image

    def shrunk(plane: NDArray[np.float64]) -> NDArray[np.uint8]:
        grey = Image.fromarray((255 * plane).astype(np.uint8))
        return np.asarray(grey if grey.width == side else grey.resize((side, side), Image.Resampling.BOX))

    return np.vstack([np.hstack([shrunk(cell[channel]) for cell in windows]) for channel in range(windows.shape[1])])


def side_within(budget: int, side: int, channels: int) -> int:
    """Pixels of a shown cell, at most its own `side`: as many as the bytes of a picture of all cells are enough for."""
    return min(side, LARGEST_SIDE, max(16, isqrt(int(8 * budget / BITS) // (2 * CELLS * channels))))


def _webp(picture: NDArray[np.uint8], budget: int) -> str:
    """Base64 of a grey picture as WebP, at the best quality within the budget; at the least where none is within.

    Bytes fall with the quality, so that of those below the best each try rules out half.
    """
    from PIL import Image

    image = Image.fromarray(picture)

    @cache
    def encoded(at: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=QUALITIES[at], method=4)
        return buffer.getvalue()

    low, high = (0, 0) if len(encoded(0)) <= budget else (1, len(QUALITIES) - 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(encoded(middle)) <= budget else (middle + 1, high)
    return base64.b64encode(encoded(low)).decode()


def _png(lines: Sequence[NDArray[np.bool_]], side: int) -> str:
    """Base64 of a PNG of four colours: nothing, nucleus, cell, both; a row of cells."""
    from PIL import Image

    nuclei, cells = (_nearest(line, side) for line in lines)
    codes = np.hstack(list(np.where(nuclei, 1, 0) + np.where(cells & ~nuclei, 2, 0)))
    image = Image.frombytes("P", (codes.shape[1], codes.shape[0]), codes.astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 64, 240, 255, 255, 255, 255])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=2, transparency=0, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _nearest(masks: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Windows (cells, s, s) shrunk to (cells, side, side): a pixel is on where any of its block is."""
    if masks.shape[1] == side:
        return masks
    edges = np.arange(side) * masks.shape[1] // side
    return np.maximum.reduceat(np.maximum.reduceat(masks, edges, axis=1), edges, axis=2)


def contact_sheet(rows: pl.DataFrame) -> bytes:
    """The cells of rows of `montages`, all stains screened together in their colours: a strip for each, as WebP."""
    from PIL import Image

    strips = []
    for row in rows.iter_rows(named=True):
        grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(row["picture"]))).convert("L"), np.float32) / 255
        stains = grey.reshape(len(row["channels"]), row["side"], -1)
        dark = np.ones((*stains.shape[1:], 3), np.float32)
        for stain, colour in zip(stains, stain_colours(row["channels"]), strict=True):
            dark *= 1 - stain[..., None] * np.asarray(colour, np.float32)
        strips.append(np.split(1 - dark, len(row["near"]), axis=1))
    side = min(strip[0].shape[0] for strip in strips)
    return cell_strips([[cell[:side, :side] for cell in strip] for strip in strips])


def readable(inputs: Snapshot, study: str) -> pl.DataFrame:
    """The montages of a study; none where they were not made."""
    try:
        return inputs.read("montages", study)
    except LakeError:
        return table("montages").empty()
