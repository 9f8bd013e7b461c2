"""How good the segmentation is, on hand-drawn nuclei and against CellProfiler's own objects, and what a site costs.

python -m benchmarks.segmentation --reference PATH [--every N] [--no-tta] [--no-cellpose]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.dsb2018 import Field, read_fields
from benchmarks.figures import Figures
from benchmarks.network_scores import bench_agreement, bench_seconds, bench_simulated, bench_unseen
from benchmarks.train_small_cellpose import unseen
from morpho_assets.evaluate.segmentation import dice, f1_of, map_dsb_of
from morpho_assets.imaging.augmentation import Augmented
from morpho_assets.imaging.fields import measure_field
from morpho_assets.imaging.illumination import apply_illumination
from morpho_assets.imaging.images import read_image, read_labels
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.quality import measure_quality
from morpho_assets.imaging.segmentation import PRESETS, CellposeConfig, Segmenter, WatershedConfig, make_segmenter
from morpho_assets.imaging.segmentation.cellpose_network import SHIPPED
from morpho_assets.imaging.segmentation.config import CellposeNetworkConfig, CellsConfig, NucleiConfig

# One configuration for all 266 images: the default, but keeping nuclei at the border and specks, which people drew.
DSB2018 = WatershedConfig(nuclei=NucleiConfig(border="keep", min_diameter=3), cells=CellsConfig(channels=("DNA",)))
CELLPOSE = CellposeConfig(
    nuclei=CellposeNetworkConfig(model="small-nuclei", channels=("DNA",), diameter="estimate"),
    cells=CellsConfig(channels=("DNA",)),
)
WELLS = {"D14": "r04c14", "N09": "r14c09", "D08": "r04c08", "A21": "r01c21"}
CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]


def scored(fields: Sequence[Field], segmenter: Segmenter) -> dict[str, float]:
    """Means over fields of each score of the nuclei, and seconds per image."""
    rows, begin = [], time.perf_counter()
    for field in fields:
        nuclei = segmenter.segment(field.image[None], ["DNA"]).nuclei
        table = overlap(field.labels, nuclei)
        count = (nuclei.max(initial=0) - field.labels.max()) / field.labels.max()
        rows.append((f1_of(table, 0.5), f1_of(table, 0.7), map_dsb_of(table), dice(field.labels, nuclei), count))
    means = np.mean(rows, axis=0)
    names = ("f1_50", "f1_70", "map_dsb", "dice", "count_error")
    return dict(zip(names, map(float, means), strict=True)) | {"seconds": (time.perf_counter() - begin) / len(fields)}


def publish_scores(figures: Figures, prefix: str, suffix: str, scores: dict[str, float], note: str) -> None:
    for name, value in scores.items():
        figures.add(f"{prefix}_{name}{suffix}", value, "s/image" if name == "seconds" else "1", note)


def outlined_nuclei(outlines: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Nuclei (H, W) from CellProfiler's outline picture: what each closed line holds, and the line itself."""
    from skimage.segmentation import expand_labels

    inside, _ = ndimage.label(~outlines)
    area = np.bincount(inside.ravel())
    inside[(inside == np.argmax(area * (np.arange(area.size) > 0))) | outlines] = 0
    grown = np.where(outlines | (inside > 0), expand_labels(inside, 2), 0)
    return np.unique(grown, return_inverse=True)[1].reshape(grown.shape).astype(np.int32)


def painting_field(reference: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    folder = reference / "jump_BR00117006_A01" / "images"
    image = np.stack([read_image(folder / "orig" / f"r01c01f01p01-ch{ch}sk1fk1fl1.tiff") for ch in (5, 3, 2)])
    outlines = read_image(folder / "outlines" / "r01c01f01p01-ch5sk1fk1fl1_nuclei_outlines.png") > 0
    return image, outlined_nuclei(outlines)


def gallery_field(reference: Path, place: str) -> NDArray[np.float32]:
    files = [next((reference / "gallery").rglob(f"{place}f05p01-ch{ch}sk1*.tiff")) for ch in (5, 4, 3, 2, 1)]
    return np.stack([read_image(path) for path in files])


def gallery_truth(reference: Path, well: str) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Image, CellProfiler's nuclei and its cells of a gallery field."""
    folder = reference / "cellprofiler_reference" / "segmentation" / well
    nuclei, cells = (read_labels(folder / f"{kind}.tif") for kind in ("nuclei", "cells"))
    return gallery_field(reference, WELLS[well]), nuclei, cells


def bench_painting(figures: Figures, reference: Path, tta: bool) -> None:
    image, truth = painting_field(reference)
    figures.add("cellpainting_truth", int(truth.max()), "nuclei", "CellProfiler's outlines, filled")
    for preset, prefix in (("default", "cellpainting"), ("cellprofiler-jump", "cellpainting_cellprofiler_jump")):
        segmenter = make_segmenter(PRESETS[preset])
        for suffix, one in [("", segmenter), *([("_tta", Augmented(segmenter))] if tta else [])]:
            begin = time.perf_counter()
            table = overlap(truth, one.segment(image, ["DNA", "RNA", "AGP"]).nuclei)
            scores = {"f1_50": f1_of(table, 0.5), "f1_70": f1_of(table, 0.7), "map_dsb": map_dsb_of(table)}
            scores["seconds"] = time.perf_counter() - begin
            publish_scores(figures, prefix, suffix, scores, f"preset {preset}; one field, CellProfiler's border rule")


def bench_gallery(figures: Figures, reference: Path) -> None:
    segmenter = make_segmenter(PRESETS["cellprofiler-jump"])
    for well, place in WELLS.items():
        found = segmenter.segment(gallery_field(reference, place), CHANNELS)
        for kind in ("nuclei", "cells"):
            truth = read_labels(reference / "cellprofiler_reference" / "segmentation" / well / f"{kind}.tif")
            score = f1_of(overlap(truth, getattr(found, kind)), 0.5)
            note = f"preset cellprofiler-jump: {found.count} cells, CellProfiler {truth.max()}"
            figures.add(f"cellprofiler_{well}_{kind}_f1_50", score, "1", note)


def seconds_of(function: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def bench_speed(figures: Figures, reference: Path) -> None:
    image = gallery_field(reference, WELLS["D14"])
    flats = [np.ones(image.shape[1:], np.float32)] * len(image)
    parts: dict[str, Callable[[], object]] = {
        "read": lambda: gallery_field(reference, WELLS["D14"]),
        "masks": lambda: make_segmenter(PRESETS["default"]).segment(image, CHANNELS),
        "quality": lambda: (measure_quality(image, CHANNELS), measure_field(image)),
        "illumination": lambda: apply_illumination(image, flats),
    }
    seconds = {name: seconds_of(part) for name, part in parts.items()}
    for name, value in seconds.items():
        figures.add(f"site_{name}", value, "s", "1080 x 1080 x 5, best of three")
    figures.add("site_total", sum(seconds.values()), "s", "all of these, of one site")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=os.environ.get("MORPHO_REFERENCE_DATA"))
    parser.add_argument("--every", type=int, default=1, help="score every N-th field of dsb2018 only (a quick look)")
    parser.add_argument("--no-tta", action="store_true")
    parser.add_argument("--no-cellpose", action="store_true")
    options = parser.parse_args()
    if options.reference is None:
        parser.error("name the folder of the reference data: --reference PATH, or MORPHO_REFERENCE_DATA")
    reference = Path(options.reference)
    figures = Figures(
        "segmentation",
        "F1 of objects at an IoU (means over images), mAP of the 2018 Data Science Bowl, Dice of the foreground and "
        "relative count error, on 266 hand-annotated fluorescence images (dsb2018) with one configuration; on a Cell "
        "Painting field against CellProfiler's outlines; and with CellProfiler's settings on four more fields.",
    )
    all_fields = read_fields(reference / "dsb2018_nuclei")
    fields, third = all_fields[:: options.every], unseen(all_fields)[:: options.every]
    watershed = make_segmenter(DSB2018)
    publish_scores(figures, "dsb2018", "", scored(fields, watershed), "all images, one configuration")
    odd = "odd images: the last constants were chosen on the even ones"
    publish_scores(figures, "dsb2018_odd", "", scored(all_fields[1::2][:: options.every], watershed), odd)
    if not options.no_tta:
        publish_scores(figures, "dsb2018", "_tta", scored(fields, Augmented(watershed)), "all images")
    if not options.no_cellpose and SHIPPED["small-nuclei"].exists():
        note = "small-nuclei on the third that its training did not see"
        publish_scores(figures, "cellpose_unseen", "", scored(third, make_segmenter(CELLPOSE)), note)
        if not options.no_tta:
            few = third[::8]  # eight passes of a network on the CPU for each image
            publish_scores(figures, "cellpose_few", "", scored(few, make_segmenter(CELLPOSE)), f"{len(few)} of them")
            publish_scores(
                figures, "cellpose_few", "_tta", scored(few, Augmented(make_segmenter(CELLPOSE))), "the same"
            )
    small = make_segmenter(CELLPOSE) if not options.no_cellpose and SHIPPED["small-nuclei"].exists() else None
    bench_unseen(figures, all_fields, watershed, small, options.every)
    bench_simulated(figures)
    bench_painting(figures, reference, not options.no_tta)
    bench_gallery(figures, reference)
    bench_agreement(figures, painting_field(reference), {well: gallery_truth(reference, well) for well in WELLS})
    bench_speed(figures, reference)
    bench_seconds(figures, gallery_field(reference, WELLS["D14"]))
    figures.publish("What the failures look like: docs/segmentation.md.")


if __name__ == "__main__":
    main()
