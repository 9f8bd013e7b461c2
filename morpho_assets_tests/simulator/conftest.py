"""Small synthetic galleries, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from morpho_assets.simulator import GalleryDesign, write_gallery

SMALL = GalleryDesign(
    batches=1,
    plates_per_batch=1,
    rows=2,
    columns=4,
    pixels=64,
    scale=0.4,
    cells_per_site=4,
    negative_controls=2,
    positive_controls=1,
    mechanisms=("er_stress", "toxic"),
    compounds_per_mechanism=1,
    inactive_compounds=1,
    series_compounds=1,
    series=(0.1,),
)


@pytest.fixture(scope="session")
def small_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plate of eight wells, 64 pixels; the source folder's root."""
    root = tmp_path_factory.mktemp("small")
    write_gallery(root, SMALL, seed=3)
    return root


@pytest.fixture(scope="session")
def tiny_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The size `tiny`."""
    root = tmp_path_factory.mktemp("tiny")
    write_gallery(root, "tiny")
    return root
