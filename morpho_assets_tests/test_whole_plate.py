"""The whole plate of the benchmark, one row of it: every site is there, and shows what its well is told to be."""

import os
from pathlib import Path

import polars as pl

from benchmarks.figures import Figures
from benchmarks.process_tree import Spent, Watched
from benchmarks.whole_plate import DRAWN_WELLS, SITES, add_figures, whole_plate
from morpho_assets.check import check_settings
from morpho_assets.simulator import GalleryDesign, write_gallery
from morpho_assets_tests.factories import write_settings


def test_a_row_of_it_is_a_plate_that_reads_without_fault(tmp_path: Path):
    drawn, folder = tmp_path / "drawn", tmp_path / "plate"
    drawn.mkdir()
    folder.mkdir()
    design = GalleryDesign(
        batches=1, plates_per_batch=1, rows=2, columns=DRAWN_WELLS // 2, sites=3, pixels=96, scale=0.5,
        cells_per_site=4, negative_controls=2, positive_controls=0, mechanisms=("aurora_inhibitor",),
        compounds_per_mechanism=1, inactive_compounds=1, series_compounds=0,
    )  # fmt: skip
    write_gallery(drawn / "gallery", design, seed=0)
    source = {"name": "drawn", "kind": "gallery", "root": "gallery", "project": design.project, "source": design.source}
    write_settings(drawn, sources=[source])
    plate = whole_plate(drawn, folder, rows=1)
    [table], [layout] = folder.rglob("load_data.csv"), folder.rglob("platemap/*.txt")
    sites = pl.read_csv(table)
    assert sites.select("Metadata_Well", "Metadata_Site").n_unique() == sites.height == 24 * SITES
    assert set(sites["Metadata_Plate"]) == {plate}
    [images] = folder.rglob("Images")
    assert all((images / name).stat().st_nlink > 1 for name in sites["FileName_OrigDNA"])
    treatments = dict(pl.read_csv(layout, separator="\t").select("well_position", "broad_sample").iter_rows())
    first = pl.read_csv(next(drawn.rglob("platemap/*.txt")), separator="\t")["broad_sample"].to_list()
    assert list(treatments.values()) == [first[number % DRAWN_WELLS] for number in range(24)]
    assert os.listdir(folder / "gallery") == os.listdir(drawn / "gallery")
    assert not check_settings(folder / "morpho.yaml").faults


def test_the_orchestrator_s_share_leaves_out_the_stages_that_are_its_own_work(tmp_path: Path):
    looks = [(1.0, 10.0, 8.0), (2.0, 60.0, 9.0), (3.0, 100.0, 15.0)]  # clock, all processes, the first
    found = Watched(wall=50.0, cpu=100.0, first=15.0, peak_mb=1.0, looks=looks)
    assert [found.spent_at(clock) for clock in (0.5, 2.5)] == [Spent(0.0, 0.0), Spent(60.0, 9.0)]
    stages = {"raw_images": Spent(10.0, 8.0), "single_cells": Spent(50.0, 1.0), "well_profiles": Spent(40.0, 6.0)}
    figures = Figures("whole_plate", "")
    add_figures(figures, found, stages, tmp_path, sites=10)
    told = {name.partition(".")[2]: value for name, value, *_ in figures.rows}
    assert (told["first_process_share"], told["orchestrator_share"]) == (15 / 50, 1 / 50)
    assert (told["single_cells_seconds"], told["site_cpu_seconds"]) == (5.0, 10.0)
