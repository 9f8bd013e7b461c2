"""What must hold of a plate's images before its numbers are believed. Each check names what offends."""

from __future__ import annotations

from typing import Any

import polars as pl

from morpho_assets.imaging.quality import STAIN_VALUE, plate_faults, stain_drift
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Partition, Verdict
from morpho_assets.lake.verdicts import warning

_NEIGHBOURS = 60  # barcodes next to the plate's, among which plates of its batch are looked for
_COMPARED = 12  # plates: their median is as good as that of all, and a batch of hundreds costs no more


def no_fault_of_the_plate(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """No flag is on so many images that the plate is at fault, such as a lost stain, and no field comes twice."""
    faults = plate_faults(inputs.read("image_quality", plate), settings.quality)
    return warning("no_fault_of_the_plate", faults, "no flag on many images, no field twice")


def stains_as_on_the_batch(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """No stain of the plate is far brighter or dimmer than on the plates of its batch beside it."""
    check = "stains_as_on_the_batch"
    quality = inputs.read("image_quality", plate)
    if STAIN_VALUE not in quality.columns:  # of plates without images
        return warning(check, [], "no images")
    others = _same_batch(inputs, plate)
    columns = ["Metadata_Plate", "channel", STAIN_VALUE]
    frames = [quality.select(columns), *(other.select(columns) for other in others if STAIN_VALUE in other.columns)]
    drift = stain_drift(pl.concat(frames))
    faults = [
        f"{row['channel']} has {2 ** row['log2_ratio']:.2f} times the contrast of {len(frames) - 1} other plates of "
        "the batch: was it stained or exposed as they were?"
        for row in drift.filter(Metadata_Plate=plate).filter("flag_stain_drift").iter_rows(named=True)
    ]
    good = "as on other plates of the batch" if len(frames) > 3 else "fewer than three other plates to compare with"
    return warning(check, faults, good)


def _same_batch(inputs: Snapshot, plate: str) -> list[pl.DataFrame]:
    """The image quality of plates of the same batch, those whose barcodes come next; at most `_COMPARED`."""
    lake = inputs.lake
    batch = inputs.read("wells", plate)["Metadata_Batch"].first()
    names = sorted({*lake.ledger.partitions("plate"), plate})
    here = names.index(plate)
    near = sorted(range(len(names)), key=lambda i: abs(i - here))[1:_NEIGHBOURS]
    found: list[pl.DataFrame] = []
    for name in (names[i] for i in near):
        if len(found) == _COMPARED:
            break
        there = lake.latest(["plate_manifest", "image_quality"], [Partition("plate", name)])
        if not (there.has("wells", name) and there.has("image_quality", name)):
            continue
        if there.scan("wells", [name]).select("Metadata_Batch").head(1).collect().item() == batch:
            found.append(there.read("image_quality", name))
    return found
