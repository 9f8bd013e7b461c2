"""The pictures of docs/segmentation.md: true outlines in green, found ones in red, both in yellow.

python -m benchmarks.segmentation_pictures --reference PATH
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from benchmarks import network_scores
from benchmarks.dsb2018 import Field, read_fields
from benchmarks.network_data import split
from benchmarks.segmentation import CHANNELS, DSB2018, WELLS, gallery_field
from morpho_assets.evaluate.segmentation import f1_of
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.segmentation import PRESETS, NetworkConfig, Segmenter, make_segmenter

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
GREEN, RED, YELLOW = (90, 255, 90), (255, 70, 70), (255, 255, 0)
TILE = 512  # pixels: side of the part of a field that is shown

Labels = NDArray[np.int32]


def outlined(plane: NDArray[np.float32], truth: Labels | None, found: Labels) -> NDArray[np.uint8]:
    """(H, W) image and labels -> (H, W, 3) picture."""
    low, high = np.percentile(plane, [0.5, 99.7])
    grey = 255 * np.sqrt(np.clip((plane - low) / max(high - low, 1e-9), 0, 1))
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    red = find_boundaries(found, mode="inner")
    picture[red] = RED
    if truth is not None:
        green = find_boundaries(truth, mode="inner")
        picture[green] = GREEN
        picture[green & red] = YELLOW
    return picture


def tiled(pictures: list[NDArray[np.uint8]], columns: int, tile: int) -> Image.Image:
    """Pictures side by side, each cut or enlarged by a whole factor to `tile` pixels."""
    page = np.zeros((-(-len(pictures) // columns) * tile, columns * tile, 3), np.uint8)
    for number, picture in enumerate(pictures):
        factor = max(1, tile // max(picture.shape[:2]))
        part = np.kron(picture, np.ones((factor, factor, 1), np.uint8))[:tile, :tile]
        row, column = divmod(number, columns)
        page[row * tile :, column * tile :][: part.shape[0], : part.shape[1]] = part
    return Image.fromarray(page)


def worst(fields: list[Field], segmenter: Segmenter, number: int) -> list[tuple[float, Field, Labels]]:
    """The fields with the lowest F1 at IoU 0.5 of those with at least ten nuclei, worst first."""
    found = [segmenter.segment(field.image[None], ["DNA"]).nuclei for field in fields]
    scores = [f1_of(overlap(field.labels, labels), 0.5) for field, labels in zip(fields, found, strict=True)]
    many = [i for i in np.argsort(scores) if fields[i].labels.max() >= 10]
    return [(scores[i], fields[i], found[i]) for i in many[:number]]


def draw_failures(fields: list[Field], segmenter: Segmenter, name: str) -> None:
    """The eight worst fields as a page."""
    failures = worst(fields, segmenter, 8)
    for score, field, _ in failures:
        print(f"{name} {field.name}: F1 {score:.2f}, {field.labels.max()} nuclei")
    pictures = [outlined(field.image, field.labels, labels) for _, field, labels in failures]
    tiled(pictures, 4, TILE).save(FOLDER / name, quality=82)


def draw_network(reference: Path) -> None:
    """CellProfiler and the network on two fields: nuclei on DNA, cells on RNA."""
    network, pictures = make_segmenter(NetworkConfig()), []
    for well in ("D14", "N09"):
        image = gallery_field(reference, WELLS[well])
        found = network.segment(image, CHANNELS)
        for kind, channel in (("nuclei", "DNA"), ("cells", "RNA")):
            truth = read_labels(reference / "cellprofiler_reference" / "segmentation" / well / f"{kind}.tif")
            pictures.append(outlined(image[CHANNELS.index(channel)], truth, getattr(found, kind))[:600, :600])
    tiled(pictures, 2, 600).save(FOLDER / "network_cellprofiler.jpg", quality=82)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("MORPHO_REFERENCE_DATA")
    parser.add_argument("--reference", type=Path, default=default, required=default is None)
    reference = Path(parser.parse_args().reference)

    fields = read_fields(reference / "dsb2018_nuclei")
    draw_failures(fields, make_segmenter(DSB2018), "segmentation_failures.jpg")
    draw_failures(split(fields)[1], make_segmenter(network_scores.DSB2018), "network_failures.jpg")
    draw_network(reference)
    cellprofiler, default_segmenter = (make_segmenter(PRESETS[name]) for name in ("cellprofiler-jump", "default"))
    pictures, over_channels = [], []
    for well, place in WELLS.items():
        image = gallery_field(reference, place)
        if well in ("D14", "N09"):
            ours = cellprofiler.segment(image, CHANNELS)
            for kind, channel in (("nuclei", "DNA"), ("cells", "RNA")):
                truth = read_labels(reference / "cellprofiler_reference" / "segmentation" / well / f"{kind}.tif")
                pictures.append(outlined(image[CHANNELS.index(channel)], truth, getattr(ours, kind))[:600, :600])
        found = default_segmenter.segment(image, CHANNELS)
        print(f"{well}: {found.count} cells with the default settings")
        for plane, name in zip(image[:, ::3, ::3], CHANNELS, strict=True):
            over_channels.append(outlined(plane, None, (found.nuclei if name == "DNA" else found.cells)[::3, ::3]))
    tiled(pictures, 2, 600).save(FOLDER / "segmentation_cellprofiler.jpg", quality=82)
    tiled(over_channels, len(CHANNELS), 360).save(FOLDER / "segmentation_gallery.jpg", quality=82)


if __name__ == "__main__":
    main()
