"""When things go wrong on a plate: what can go on does, what cannot stops with one message."""

import shutil
from pathlib import Path

import pytest

from morpho_assets_tests.project import Project, make_project

pytestmark = pytest.mark.slow
PLATE = "SYN00000001"


@pytest.fixture
def gallery(tmp_path, tiny_gallery) -> Path:
    """A gallery that a test may damage."""
    return Path(shutil.copytree(tiny_gallery, tmp_path / "gallery"))


def images(gallery: Path) -> list[Path]:
    return sorted(gallery.rglob(f"{PLATE}__*/Images/*-ch5*.tiff"))


def fails(project: Project, *arguments: str) -> str:
    """Run a command that must fail, with one message and no traceback."""
    process = project.start(*arguments)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "Traceback" not in output
    return next(line for line in output.splitlines() if line.startswith("morpho:"))


def test_an_image_that_cannot_be_read_costs_its_site_and_nothing_else(tmp_path, gallery):
    broken = images(gallery)[0]
    broken.write_bytes(broken.read_bytes()[:200])
    missing = images(gallery)[1]
    missing.unlink()
    project = make_project(tmp_path / "project", gallery, failed_sites=0.5)
    project.run("run", "--plate", PLATE)
    failures = project.read("site_failures", PLATE)
    wells = {(row["stage"], row["channel"]): row["Metadata_Well"] for row in failures.iter_rows(named=True)}
    assert set(failures["channel"]) == {"DNA"}
    assert {"raw_images", "image_quality", "masks"} == set(failures["stage"])
    assert "truncated" in failures.filter(stage="masks")["error"][0]
    profiles = project.read("well_profiles", PLATE)
    failed = profiles.filter(Metadata_Count_Failed_Sites=1)
    assert set(failed["Metadata_Well"]) == {wells["raw_images", "DNA"], wells["masks", "DNA"]}
    assert (failed["Metadata_Count_Cells"] == 0).all()
    assert (profiles.filter(Metadata_Count_Failed_Sites=0)["Metadata_Count_Sites"] == 1).all()
    assert profiles.height == 18


def test_past_the_threshold_the_plate_stops_and_says_why(tmp_path, gallery):
    for path in images(gallery)[:6]:
        path.write_bytes(b"")
    project = make_project(tmp_path / "project", gallery)
    message = fails(project, "run", "--plate", PLATE)
    assert f"masks of plate {PLATE}: 6 of 18 sites failed (limit 10%); table site_failures says why" in message
    assert project.commit("single_cells", PLATE) is None


def test_a_plate_without_controls_keeps_its_cells_says_what_is_missing_and_goes_on_from_there(tmp_path, gallery):
    for file in gallery.rglob("external_metadata/*.tsv"):
        file.write_text(file.read_text().replace("negcon", "").replace("\tcontrol\t", "\ttrt\t"))
    project = make_project(tmp_path / "project", gallery)
    settings = project.folder / "morpho.yaml"
    settings.write_text(settings.read_text().replace("kind: gallery", "kind: gallery\n  negative_controls: []"))
    message = fails(project, "run", "--plate", PLATE)
    assert PLATE in message
    assert "negcon" in message
    cells = project.commit("single_cells", PLATE)
    assert cells.sites.total == 18
    assert project.commit("well_profiles", PLATE) is None
    settings.write_text(settings.read_text() + "profiles: {normalize: {reference: all}}\n")
    project.run("run", "--plate", PLATE)
    assert project.read("normalized_profiles", PLATE).height == 18
    assert project.commit("single_cells", PLATE) == cells


def test_a_wrong_load_data_stops_before_any_work(tmp_path, gallery):
    for file in gallery.rglob(f"{PLATE}/load_data*.csv"):
        file.write_text(file.read_text().replace("Metadata_Well", "Vessel").replace("Metadata_Row", "Shelf"))
    project = make_project(tmp_path / "project", gallery)
    message = fails(project, "run", "--plate", PLATE)
    assert "load_data" in message
    assert "`columns.well`" in message
    lake = project.folder / "data/lake"
    assert {path.relative_to(lake).parts[:2] for path in lake.rglob("*.*")} == {
        ("ledger", "attempts"),
        ("ledger", "observations"),
    }


def test_an_unknown_plate_is_told(tmp_path, gallery):
    project = make_project(tmp_path / "project", gallery)
    assert "no such plate in the sources demo" in fails(project, "run", "--plate", "BR00116991")
