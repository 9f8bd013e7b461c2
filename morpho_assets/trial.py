"""Several ways to segment, side by side on a few sites of a plate: to choose by eye before a run.

Nothing of the lake is written. Illumination is corrected where the plate's functions are there already.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.evaluate.segmentation import f1_of
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.planes import Plane
from morpho_assets.imaging.segmentation import (
    CELLPROFILER_JUMP,
    CellposeConfig,
    NetworkConfig,
    Segmentation,
    SegmentationConfig,
    WatershedConfig,
    make_segmenter,
)
from morpho_assets.imaging.segmentation.config import CellposeNetworkConfig, CellsConfig
from morpho_assets.imaging.sites import complete_sites, plate_reader
from morpho_assets.lake.ledger import Partition
from morpho_assets.workspace import Workspace

METHODS: dict[str, SegmentationConfig] = {
    "watershed": WatershedConfig(),
    "cellprofiler-jump": CELLPROFILER_JUMP,
    "network": NetworkConfig(),
    "small-nuclei": CellposeConfig(
        nuclei=CellposeNetworkConfig(model="small-nuclei", channels=("DNA",), diameter="estimate", border="discard"),
        cells=CellsConfig(),
    ),
}
"""What can be tried by name; `settings` is what the settings file says."""


@dataclass(frozen=True)
class Field:
    """One site: its key, image (C, H, W) float32 in [0, 1], and the names of its channels."""

    key: str
    image: NDArray[np.float32]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """What each method found on each field, `found[method][field]`, and the seconds that it took."""

    fields: Sequence[Field]
    found: Mapping[str, Sequence[Segmentation]]
    seconds: Mapping[str, Sequence[float]]

    def table(self) -> pl.DataFrame:
        """A row per method: cells and dropped nuclei of all fields, median diameter, seconds a field, and the agreement
        with each other method: F1 of cells at IoU 0.5, mean over fields."""
        rows = []
        for name, found in self.found.items():
            area = np.concatenate([np.bincount(one.nuclei.ravel())[1:] for one in found])
            row = {
                "method": name,
                "cells": sum(one.count for one in found),
                "dropped": sum(one.dropped_nuclei for one in found),
                "nuclear_diameter_px": round(float(2 * np.sqrt(np.median(area) / np.pi)), 1) if area.size else None,
                "seconds_a_site": round(float(np.mean(self.seconds[name])), 2),
            }
            agreed = {f"like {other}": self._agreement(name, other) for other in self.found}
            rows.append(row | agreed)
        return pl.DataFrame(rows)

    def _agreement(self, one: str, other: str) -> float:
        pairs = zip(self.found[one], self.found[other], strict=True)
        return round(float(np.mean([f1_of(overlap(a.cells, b.cells), 0.5) for a, b in pairs])), 3)

    def picture(self, part: int = 540) -> bytes:
        """A PNG: a row per field, a column per method; of each field the middle `part` pixels, outlined."""
        import io

        from PIL import Image, ImageDraw

        from morpho_assets.report.figures import mask_overlay

        rows = []
        for number, field in enumerate(self.fields):
            window = tuple(_middle(extent, part) for extent in field.image.shape[1:])
            row = []
            for name, found in self.found.items():
                shown = [labels[window] for labels in (found[number].nuclei, found[number].cells)]
                image = Image.open(
                    io.BytesIO(mask_overlay(field.image[(slice(None), *window)], field.channels, *shown))
                )
                picture = image.convert("RGB").resize((part, part))
                text = f"{field.key}  {name}: {found[number].count} cells, {self.seconds[name][number]:.1f} s"
                ImageDraw.Draw(picture).text((6, 4), text, fill=(255, 255, 255), font_size=14)
                row.append(np.asarray(picture))
            rows.append(np.concatenate(row, axis=1))
        body = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(body, "PNG")
        return body.getvalue()


def _middle(extent: int, part: int) -> slice:
    start = max(0, (extent - part) // 2)
    return slice(start, min(extent, start + part))


def methods_of(workspace: Workspace, names: Sequence[str]) -> dict[str, SegmentationConfig]:
    """The configurations of these names; without any what the settings say, the watershed and the network.

    Raises InputError for an unknown name.
    """
    known = {"settings": workspace.settings.segmentation, **METHODS}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise InputError(
            "morpho segment", unknown, "no such method", f"one of {', '.join(known)}", "Name one of these."
        )
    chosen = names or ("settings", "watershed", "network")
    found: dict[str, SegmentationConfig] = {}
    for name in dict.fromkeys(chosen):
        if not names and known[name] in found.values():
            continue  # the settings say the same
        found[name] = known[name]
    return found


def chosen(name: str) -> SegmentationConfig:
    """The configuration of a name that can be written into settings. Raises InputError for any other."""
    if name not in METHODS:
        raise InputError("morpho segment", name, "no such method", f"one of {', '.join(METHODS)}", "Name one of these.")
    return METHODS[name]


def try_methods(fields: Sequence[Field], methods: Mapping[str, SegmentationConfig]) -> Tried:
    """Segment every field with every method; each is warmed up first, so that seconds are what a site of many takes."""
    found: dict[str, list[Segmentation]] = {}
    seconds: dict[str, list[float]] = {}
    for name, config in methods.items():
        segmenter = make_segmenter(config)
        segmenter.segment(fields[0].image[:, :64, :64], fields[0].channels)
        found[name], seconds[name] = [], []
        for field in fields:
            begin = time.perf_counter()
            found[name].append(segmenter.segment(field.image, field.channels))
            seconds[name].append(time.perf_counter() - begin)
    return Tried(fields, found, seconds)


def fields_of(workspace: Workspace, plate: str, sites: Sequence[str], number: int) -> list[Field]:
    """These sites of a plate (`A01-1`), or `number` spread over it.

    Raises InputError for a site that is not there, ImageError for an image that cannot be read.
    """
    state = workspace.state([plate])
    source = workspace.source(plate, state)
    partition = Partition("plate", plate)
    stages = ("plate_manifest", "raw_images", "illumination")
    commits = [state.commits[name, partition] for name in stages if (name, partition) in state.commits]
    if len(commits) == len(stages):
        inputs = workspace.lake.snapshot(commits)
        there = {site.key: site for site in complete_sites(inputs, plate)}
        reader = plate_reader(inputs, source.store(), plate)
        return [Field(key, reader.read(there[key]), there[key].channels) for key in _chosen(list(there), sites, number)]
    table, store = source.manifest(plate).sites, source.store()
    keys = {f"{well}-{site}": (well, site) for well, site in _places(table)}
    fields = []
    for key in _chosen(list(keys), sites, number):
        well, site = keys[key]
        rows = list(table.filter(Metadata_Well=well, Metadata_Site=site).iter_rows(named=True))
        planes = [
            read_image(store.read(row["uri"]).body, Plane(row["series"], row["frame"]), name=row["uri"]) for row in rows
        ]
        fields.append(Field(key, np.stack(planes), tuple(row["channel"] for row in rows)))
    return fields


def _places(table: pl.DataFrame) -> Iterator[tuple[str, int]]:
    yield from table.select("Metadata_Well", "Metadata_Site").unique(maintain_order=True).iter_rows()


def _chosen(there: Sequence[str], sites: Sequence[str], number: int) -> list[str]:
    missing = next((site for site in sites if site not in there), None)
    if missing is not None or not there:
        shown = ", ".join(there[:5]) or "none"
        raise InputError("morpho segment", missing or "sites", "no such site", f"one of {shown} …", "Name well-site.")
    if sites:
        return list(sites)
    return [there[i] for i in dict.fromkeys(np.linspace(0, len(there) - 1, number).round().astype(int).tolist())]


def write_choice(file: Path, config: SegmentationConfig) -> None:
    """Put `segmentation` into a settings file in place of what stood there; all else stays as it is, comments too.

    Raises InputError for a file whose `segmentation` is not a block of its own.
    """
    plain = config.model_dump(mode="json", exclude_defaults=True)
    block = yaml.safe_dump({"segmentation": {"method": config.method, **plain}}, sort_keys=False)
    text = file.read_text() if file.exists() else ""
    found = re.search(r"^segmentation:.*\n?(?:(?:[ \t]+.*|[ \t]*)(?:\n|\Z))*", text, flags=re.MULTILINE)
    if found is None:
        file.write_text(text + ("" if text.endswith("\n") or not text else "\n") + block)
        return
    rest = text[found.end() :]
    file.write_text(text[: found.start()] + block + ("\n" if rest else "") + rest)
