"""A plate of two wells and three sites with images, label images, cells, embeddings and profiles, filled by hand."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile

from morpho_assets.export.plate import Plate
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.images import write_labels
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_tables, plate

SITES = [("A01", 1), ("A01", 2), ("B03", 1)]
CHANNELS = ("DNA", "RNA")
SHAPE = (300, 260)
ABOUT = AboutConfig(pixel_size=0.5, objective="20x/1.0", stains={"DNA": "Hoechst 33342"}, licence="CC0-1.0")


def squares(cells: int, side: int) -> np.ndarray:
    """So many squares on the diagonal, labelled from 1; a cell is 24 px wide around a nucleus of 10."""
    labels = np.zeros(SHAPE, np.int32)
    for i in range(cells):
        middle = 20 + 40 * i
        labels[middle - side // 2 : middle + side // 2, middle - side // 2 : middle + side // 2] = i + 1
    return labels


def fill(folder: Path) -> Lake:
    """Two cells in each site but the last, which has none; well B03 has no treatment's name."""
    lake, rng = Lake(str(folder / "lake")), np.random.default_rng(0)
    p1 = plate("P1")
    names = ("Metadata_Well", "Metadata_Perturbation", "Metadata_pert_type", "Metadata_control_type", "Metadata_moa")
    rows = [("A01", "DMSO", "control", "negcon", None), ("B03", "BRD/1 at 3", "trt", None, "tubulin | inhibitor")]
    wells = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        Metadata_Plate=pl.lit("P1"), Metadata_Row=pl.Series([1, 2]), Metadata_Col=pl.Series([1, 3]),
        Metadata_Source=pl.lit("source_1"), Metadata_Batch=pl.lit("batch_1"), described=pl.lit(True),
    )  # fmt: skip
    images, files = [], []
    for well, site in SITES:
        for channel in CHANNELS:
            path = folder / "images" / f"{well}-{site}-{channel}.tiff"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, rng.integers(0, 60_000, SHAPE, dtype=np.uint16))
            place = {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site, "channel": channel}
            images.append({**place, "uri": str(path), "source": "lab", "illumination_uri": None})
            body = path.read_bytes()
            files.append({**place, "uri": str(path), "path": str(path), "bytes": len(body),
                          "sha256": hashlib.sha256(body).hexdigest()})  # fmt: skip
    commit_tables(lake, "plate_manifest", p1, {"wells": wells, "sites": pl.DataFrame(images, infer_schema_length=None)})
    commit_tables(lake, "raw_images", p1, {"image_files": pl.DataFrame(files)})
    functions = []
    for channel in CHANNELS:
        body = io.BytesIO()
        np.save(body, np.full(SHAPE, 2, np.float32))
        path = lake.write_named("illumination/plate=P1", f"{channel}.npy", body.getvalue())
        functions.append({"Metadata_Plate": "P1", "channel": channel, "path": path, "method": "computed"})
    commit_tables(lake, "illumination", p1, {"illumination_functions": pl.DataFrame(functions)})
    masks, objects, cells = [], [], []
    for number, (well, site) in enumerate(SITES):
        count = 2 if number < 2 else 0
        place = {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site}
        paths = {
            name: lake.write_named(
                "label_images/plate=P1", f"{well}-{site}_{name}.tif", write_labels(squares(count, side))
            )
            for name, side in (("nuclei", 10), ("cells", 24))
        }
        masks.append({**place, **paths, "Count_Cells": count, "Count_Dropped": 0})
        for i in range(count):
            middle = 20 + 40 * i - 0.5
            objects.append({**place, "ObjectNumber": i + 1, "Nuclei_Center_X": middle, "Nuclei_Center_Y": middle,
                            "Nuclei_Area": 100, "Cells_Area": 576})  # fmt: skip
            cells.append({**place, "ObjectNumber": i + 1, "Nuclei_AreaShape_Area": 100.0,
                          "Cells_AreaShape_Area": 576.0 + number, "Cells_Intensity_MeanIntensity_DNA": 0.1 * i,
                          "Cytoplasm_AreaShape_Area": None if i else 476.0})  # fmt: skip
    commit_tables(lake, "masks", p1, {"masks": pl.DataFrame(masks), "objects": pl.DataFrame(objects)})
    commit_tables(lake, "single_cells", p1, {"single_cells": pl.DataFrame(cells, infer_schema_length=None)})
    embedded = pl.DataFrame(cells[:-1], infer_schema_length=None).select(
        "Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber", study=pl.lit("s"), encoder=pl.lit("vae"),
        embedding=pl.lit([1.0, 2.0, 3.0]),
    )  # fmt: skip
    commit_tables(lake, "embeddings", plate("P1", "s vae"), {"embeddings": embedded})
    profiles = wells.drop("described").with_columns(
        Metadata_Count_Cells=pl.Series([4, 0]), Nuclei_AreaShape_Area=pl.Series([100.0, None]),
        Cells_AreaShape_Area=pl.Series([576.5, None]),
    )  # fmt: skip
    units = profiles.with_columns(
        Nuclei_AreaShape_Area=pl.Series([0.0, None]), Cells_AreaShape_Area=pl.Series([1.5, None])
    )
    commit_tables(lake, "well_profiles", p1, {"well_profiles": profiles, "normalized_profiles": units})
    return lake


def opened(lake: Lake, name: str = "P1", config: AboutConfig = ABOUT) -> Plate:
    """The plate as it was committed last."""
    commits = [each for each in lake.ledger.state().commits.values() if each.partition.key == name]
    return Plate(name, lake.snapshot(commits), Store(), config)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake of `fill`, made once; tests that change it fill one of their own."""
    return fill(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def p1(filled: Lake) -> Plate:
    return opened(filled)
