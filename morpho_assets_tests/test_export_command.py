"""`morpho export`, as a terminal user runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from morpho_assets.cli import main
from morpho_assets_tests.factories import write_settings
from morpho_assets_tests.project import Project

PLATE = "SYN00000001"


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets variables for Dagster; they end with the test."""
    for name in ("MORPHO_SETTINGS", "DAGSTER_HOME", "MORPHO_STATE_DIR", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, str(tmp_path / "state"))


def export(folder: Path, *arguments: object) -> int:
    return main(["--settings", str(folder / "morpho.yaml"), "export", *map(str, arguments)])


def test_nothing_named_and_a_plate_that_nobody_has_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(tmp_path)
    assert export(tmp_path, "anndata") == 1
    assert "found nothing to export; expected --plate or --study" in capsys.readouterr().err
    assert export(tmp_path, "anndata", "--plate", "P9") == 1
    assert "P9" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "expected"),
    [(["anndata", "--study", "demo"], [f"{PLATE}.cells.h5ad", f"{PLATE}.wells.h5ad", "demo.treatments.h5ad",
                                       "demo.wells.h5ad"]),
     (["ome-zarr"], [f"{PLATE}.ome.zarr"]),
     (["crops", "--by", "Metadata_moa", "--size", "32", "--most", "5"], [f"{PLATE}.crops.csv", f"{PLATE}.about.json"]),
     (["cytotable"], [f"{PLATE}.parquet"]),
     (["gallery"], ["exported"]),
     (["labels"], [PLATE])],
    ids=lambda value: value[0],
)  # fmt: skip
def test_every_form_is_written_once_beside_the_catalog(
    demo: tuple[Project, str], form: list[str], expected: list[str]
) -> None:
    project = demo[0]
    folder = project.folder / "data/exports" / form[0]
    shutil.rmtree(folder, ignore_errors=True)  # the documentation's commands may have been run there
    assert "written:" in project.run("export", *form, "--plate", PLATE)
    assert {path.name for path in folder.iterdir()} >= set(expected)
    assert "\n0 written, " in "\n" + project.run("export", *form, "--plate", PLATE)
