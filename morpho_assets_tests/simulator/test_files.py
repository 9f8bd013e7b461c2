from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile

from morpho_assets.errors import InputError
from morpho_assets.gallery.sources import GallerySource
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.simulator import SIZES, write_gallery
from morpho_assets.simulator.design import CHANNELS
from morpho_assets.simulator.layout import plate_wells
from morpho_assets.simulator.site import simulate_site
from morpho_assets_tests.simulator.conftest import SMALL

HOME = "cpg9999-synthetic/source_0"


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def truth(root: Path, table: str) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((root / HOME / "workspace/truth").rglob(table)))


def test_tables_have_the_columns_of_the_real_gallery(tiny_gallery: Path, reference_data: Path) -> None:
    real = next((reference_data / "gallery").glob("*/*/workspace"))
    made = tiny_gallery / HOME / "workspace"
    for pattern in ("load_data_csv/*/*/load_data.csv", "metadata/platemaps/*/barcode_platemap.csv"):
        ours, theirs = next(made.glob(pattern)), next(real.glob(pattern))
        assert ours.read_text().splitlines()[0] == theirs.read_text().splitlines()[0]
    external = "metadata/external_metadata/*compound_metadata_targets.tsv"
    theirs, ours = (next(w.glob(external)).read_text().splitlines()[0].split("\t") for w in (real, made))
    assert ours == [*theirs, "moa"]
    platemap = next(made.glob("metadata/platemaps/*/platemap/*.txt")).read_text().splitlines()[0]
    assert platemap.split("\t") == ["well_position", "broad_sample", "dose_uM", "solvent"]


def test_illumination_has_the_columns_of_the_real_load_data(tiny_gallery: Path, reference_data: Path) -> None:
    real = next((reference_data / "jump_metadata/load_data_example").glob("*with_illum.parquet"))
    known = set(pl.read_parquet_schema(real)) - {"Metadata_Source", "Metadata_Batch"}
    made = next((tiny_gallery / HOME).glob("workspace/load_data_csv/*/*/load_data_with_illum.csv"))
    assert known <= set(pl.read_csv(made).columns)


def test_the_house_reads_it_and_finds_the_planted_treatments(tiny_gallery: Path) -> None:
    source = GallerySource(
        kind="gallery", name="synthetic", root=str(tiny_gallery), project="cpg9999-synthetic", source="source_0"
    )
    assert source.plates() == ["SYN00000001", "SYN00000002"]
    manifest = source.manifest("SYN00000002")
    wells = truth(tiny_gallery, "wells.parquet").filter(pl.col("Metadata_Plate") == "SYN00000002")
    both = manifest.wells.join(wells, on="Metadata_Well")
    assert both.height == 18
    assert both["Metadata_Perturbation"].to_list() == both["treatment"].to_list()
    negcon = both.filter(pl.col("Metadata_control_type") == "negcon")
    assert negcon["role"].unique().to_list() == ["negcon"]
    assert negcon.height == SIZES["tiny"].negative_controls
    store = source.store()
    image = tifffile.imread(store.resolve(manifest.sites["uri"][0]))
    assert image.shape == (160, 160)
    assert image.dtype == np.uint16


def test_images_say_how_wide_a_pixel_is(small_gallery: Path) -> None:
    image = next((small_gallery / HOME / "images").rglob("*.tiff"))
    assert pixel_size(image.read_bytes()) == pytest.approx(0.6 / SMALL.scale, rel=1e-4)


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(small_gallery: Path, tmp_path: Path) -> None:
    write_gallery(tmp_path, SMALL, seed=3, workers=2)
    assert contents(tmp_path) == contents(small_gallery)


def test_another_seed_gives_other_images(small_gallery: Path, tmp_path: Path) -> None:
    write_gallery(tmp_path, SMALL, seed=4)
    ours, others = contents(small_gallery), contents(tmp_path)
    assert ours.keys() == others.keys()
    assert not any(ours[name] == others[name] for name in ours if name.endswith("ch5sk1fk1fl1.tiff"))


def test_any_site_can_be_drawn_alone(small_gallery: Path) -> None:
    well = plate_wells(SMALL, 3, 0)[-1]
    site = simulate_site(SMALL, 3, 0, well, 1)
    folder = small_gallery / HOME / "images/2026_01_01_Batch1/images/SYN00000001__Measurement1/Images"
    for channel, number in zip(range(5), (5, 4, 3, 2, 1), strict=True):
        name = f"r{well.row:02d}c{well.column:02d}f01p01-ch{number}sk1fk1fl1.tiff"
        np.testing.assert_array_equal(tifffile.imread(folder / name), site.image[channel])


def test_a_killed_write_leaves_nothing_and_goes_on_where_it_was(small_gallery: Path, tmp_path: Path) -> None:
    def killed(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(tmp_path, SMALL, seed=3, progress=killed)
    assert not (tmp_path / "cpg9999-synthetic").exists()
    half = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*ch5*.tiff")}
    assert len(half) == 3
    seen: list[tuple[int, int]] = []
    write_gallery(tmp_path, SMALL, seed=3, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*ch5*.tiff")}
    assert all(after[path.name] == time for path, time in half.items())
    assert contents(tmp_path) == contents(small_gallery)


def test_a_gallery_that_is_there_is_kept_and_never_overwritten_by_another(small_gallery: Path) -> None:
    before = contents(small_gallery)
    assert write_gallery(small_gallery, SMALL, seed=3) == ["SYN00000001"]
    with pytest.raises(InputError, match="Another gallery is here"):
        write_gallery(small_gallery, SMALL, seed=4)
    assert contents(small_gallery) == before


def test_an_unknown_size_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tiny, demo, plate384"):
        write_gallery(tmp_path, "huge")


def test_truth_tables_agree_with_masks_and_with_each_other(tiny_gallery: Path) -> None:
    cells, sites, wells = (truth(tiny_gallery, f"{name}.parquet") for name in ("cells", "sites", "wells"))
    assert sites.height == wells.height == 36
    assert sites["cells"].sum() == cells.height
    masks = next((tiny_gallery / HOME / "workspace/truth").glob("*/SYN00000002/masks"))
    for well in ("A01", "C06"):
        nuclei, whole = (tifffile.imread(masks / f"{well}-1-{name}.tiff") for name in ("nuclei", "cells"))
        rows = cells.filter(Metadata_Plate="SYN00000002", Metadata_Well=well)
        assert rows["ObjectNumber"].to_list() == list(range(1, nuclei.max() + 1))
        assert rows["nucleus_pixels"].to_list() == np.bincount(nuclei.ravel())[1:].tolist()
        assert rows["cell_pixels"].to_list() == np.bincount(whole.ravel())[1:].tolist()


def test_experiment_tables_hold_every_treatment_assay_and_gene(tiny_gallery: Path) -> None:
    folder = tiny_gallery / HOME / "workspace/truth"
    treatments = pl.read_parquet(folder / "treatments.parquet")
    used = truth(tiny_gallery, "wells.parquet")["treatment"].unique()
    assert set(used) | {treatments["treatment"][1]} == set(treatments["treatment"])
    assert set(treatments.filter(mechanism="inactive")["active"]) == {False}
    assert set(treatments.filter(mechanism="toxic", dose=10.0)["active"]) == {True}
    assert pl.read_parquet(folder / "assays.parquet")["assay"].n_unique() == 7
    assert truth(tiny_gallery, "expression.parquet").height == 36
    assert json.loads((folder / "design.json").read_text())["seed"] == 0


def test_a_plate_without_cells_is_written_whole(tmp_path: Path) -> None:
    write_gallery(tmp_path, SMALL.model_copy(update={"cells_per_site": 0.0, "illumination": False}))
    assert truth(tmp_path, "cells.parquet").height == 0
    assert truth(tmp_path, "sites.parquet")["cells"].to_list() == [0] * 8
    assert len(list(tmp_path.rglob("*sk1fk1fl1.tiff"))) == 8 * len(CHANNELS)
    assert not list(tmp_path.rglob("*illum*"))
