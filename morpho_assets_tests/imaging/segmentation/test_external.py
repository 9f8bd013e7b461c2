"""Label images that exist already: paths that cannot work, and files that are masks rather than labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from morpho_assets.errors import ImageError, InputError
from morpho_assets.imaging.images import write_labels
from morpho_assets.imaging.segmentation import ExternalConfig, made_with, make_segmenter

SITES = [{"plate": "P1", "well": well, "site": site} for well in ("A01", "B02") for site in (1, 2)]
IMAGE = np.zeros((1, 60, 60), np.float32)


def disks(count: int) -> np.ndarray:
    """(60, 60) labels of `count` squares, numbered."""
    labels = np.zeros((60, 60), np.int32)
    for number in range(count):
        row, column = divmod(number, 6)
        labels[10 * row + 1 : 10 * row + 8, 10 * column + 1 : 10 * column + 8] = number + 1
    return labels


def config(folder: Path, pattern: str = "{well}-{site}.tif") -> ExternalConfig:
    return ExternalConfig(nuclei=pattern, cells=pattern, folder=folder)


@pytest.mark.parametrize("brace", ["{column}", "{plate.barcode}", "{site[0]}", "{}", "{well", "{well:d}"])
def test_a_brace_that_names_nothing_of_a_site_stops_before_any_site(brace: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"brace that cannot be filled .* expected of \{plate\}, \{well\}, \{site\}"):
        make_segmenter(config(tmp_path, f"{{well}}-{brace}.tif"))


def test_one_file_for_all_wells_or_sites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one path for all wells; expected the brace \{well\}"):
        make_segmenter(config(tmp_path, "{plate}-{site}.tif"))
    with pytest.raises(InputError, match=r"A01\.tif for several sites"):
        made_with(config(tmp_path, "{well}.tif"), SITES)
    make_segmenter(config(tmp_path, "{plate}/{well}-{site:02d}.tif"))


def read(folder: Path, labels: np.ndarray):
    (folder / "A01-1.tif").write_bytes(write_labels(labels))
    return make_segmenter(config(folder), SITES[0]).segment(IMAGE, ["DNA"])


@pytest.mark.parametrize("labels", [255 * (disks(3) > 0), 1 + (disks(20) % 2) * (disks(20) > 0)])
def test_a_mask_is_no_label_image(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"separate pieces under the one label \d+: a mask\? number each object"):
        read(tmp_path, labels * (disks(36)[: labels.shape[0]] > 0))


def test_labels_with_a_stray_pixel_or_none_at_all_pass(tmp_path: Path) -> None:
    one = disks(1)
    one[30, 30] = 1
    assert read(tmp_path, one).count == 1
    assert read(tmp_path, disks(30)).count == 30
    assert read(tmp_path, disks(0)).count == 0


def test_the_digest_names_what_is_in_the_files(tmp_path: Path) -> None:
    def digest() -> str:
        return made_with(config(tmp_path), SITES)["label images"]

    empty = digest()
    for number, site in enumerate(SITES):
        (tmp_path / f"{site['well']}-{site['site']}.tif").write_bytes(write_labels(disks(number)))
    full = digest()
    assert full not in (empty, made_with(config(tmp_path), SITES[:2])["label images"])
    (tmp_path / "B02-2.tif").write_bytes(write_labels(disks(5)))
    assert digest() != full
    (tmp_path / "B02-2.tif").write_bytes(write_labels(disks(3)))
    assert digest() == full
