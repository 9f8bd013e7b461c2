from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

import morpho_assets
from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.sources import GallerySource
from morpho_assets.imaging.images import read_image
from morpho_assets.simulator.defects import DEFECTS, apply_defect, defects_table
from morpho_assets_tests.simulator.test_files import contents


@pytest.fixture
def gallery(small_gallery: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_gallery, tmp_path / "gallery")
    return tmp_path / "gallery"


def test_the_catalogue_is_broad() -> None:
    assert len(DEFECTS) >= 25
    outcomes = Counter(defect.outcome for defect in DEFECTS.values())
    assert min(outcomes[outcome] for outcome in ("error", "site_failure", "flag")) >= 8
    assert all(defect.about.endswith(".") for defect in DEFECTS.values())


@pytest.mark.parametrize("name", list(DEFECTS))
def test_a_defect_changes_files_but_never_the_truth(name: str, gallery: Path, small_gallery: Path) -> None:
    damage = apply_defect(gallery, name, seed=1)
    before, after = contents(small_gallery), contents(gallery)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed
    assert not any("truth" in path for path in changed)
    assert damage.plate == "SYN00000001"


@pytest.mark.parametrize("name", ["truncated_tiff", "garbled_header", "empty_well", "shifted_platemap"])
def test_the_same_seed_does_the_same_damage(name: str, gallery: Path, small_gallery: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(small_gallery, twin)
    one, two = apply_defect(gallery, name, seed=5), apply_defect(twin, name, seed=5)
    assert one.wells == two.wells
    assert contents(gallery) == contents(twin)


# What only a later stage can see: the images behind the tables, and illumination functions.
LATER = {"missing_image_folder", "missing_illumination", "wrong_illumination", "no_controls"}


@pytest.mark.parametrize("name", [n for n, d in DEFECTS.items() if d.outcome == "error" and n not in LATER])
def test_wrong_tables_stop_with_one_message(name: str, gallery: Path) -> None:
    source = GallerySource(
        kind="gallery", name="synthetic", root=str(gallery), project="cpg9999-synthetic", source="source_0"
    )
    assert source.manifest("SYN00000001").wells.height == 8
    apply_defect(gallery, name, seed=1)
    with pytest.raises(InputError):
        source.manifest("SYN00000001")


@pytest.mark.parametrize("name", [n for n, d in DEFECTS.items() if d.outcome == "site_failure"])
def test_spoilt_images_are_refused_one_by_one(name: str, gallery: Path, small_gallery: Path) -> None:
    damage = apply_defect(gallery, name, seed=1)
    whole = small_gallery / damage.path.relative_to(gallery)
    assert read_image(whole, shape=(64, 64)).shape == (64, 64)
    with pytest.raises(ImageError):
        read_image(damage.path, shape=(64, 64))


def test_unknown_defects_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="truncated_tiff"):
        apply_defect(tmp_path, "gremlin")
    with pytest.raises(InputError, match="write_gallery"):
        apply_defect(tmp_path, "truncated_tiff")


def test_the_documentation_lists_every_defect() -> None:
    page = (Path(morpho_assets.__file__).parents[1] / "docs/simulator.md").read_text()
    for defect in DEFECTS.values():
        assert f"| `{defect.name}` | {defect.outcome} | {defect.about} |" in page


def test_the_documentation_says_where_every_defect_is_noticed() -> None:
    page = (Path(morpho_assets.__file__).parents[1] / "docs/reliability.md").read_text()
    assert defects_table() in page
