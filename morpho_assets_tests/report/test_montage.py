"""Cells of treatments: which are chosen, and how they are drawn."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from morpho_assets.report import montage
from morpho_assets.report.structure import structure
from morpho_assets_tests.report.screen import _cells


def test_cells_near_the_median_and_near_the_far_end() -> None:
    chosen, near = montage._near(np.arange(101.0))
    assert near == ("median",) * 4 + ("extreme",) * 4
    assert set(chosen[:4].tolist()) <= {48, 49, 50, 51, 52}
    assert set(chosen[4:].tolist()) <= {93, 94, 95, 96, 97}


@pytest.mark.parametrize(("cells", "shown"), [(8, 8), (5, 4), (2, 2)])
def test_no_cell_is_shown_twice_and_of_few_as_many_as_there_are(cells: int, shown: int) -> None:
    chosen, near = montage._near(np.zeros(cells))
    assert len(set(chosen.tolist())) == len(near) == shown
    assert near.count("median") == near.count("extreme")


def test_spread_of_constant_or_missing_features_divides_nothing_by_nothing() -> None:
    middle, spread = montage._robust(np.array([[1.0, np.nan, 1], [1.0, np.nan, 3], [1.0, np.nan, 5]]))
    np.testing.assert_allclose(middle, [1, 0, 3])
    np.testing.assert_allclose(spread, [1, 1, 1.4826 * 2])


def test_pictures_keep_to_their_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5 * 64, 8 * 64)).astype(np.uint8)
    sizes = [len(base64.b64decode(montage._webp(noise, budget))) for budget in (10**6, 1)]
    assert sizes[1] < sizes[0]
    assert Image.open(io.BytesIO(base64.b64decode(montage._webp(noise, 1)))).size == (512, 320)


def test_the_best_quality_within_a_budget_is_found_as_by_trying_all() -> None:
    picture = _cells(64, np.random.default_rng(0))
    sizes = []
    for quality in montage.QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=4)
        sizes.append(len(buffer.getvalue()))
    assert sizes == sorted(sizes, reverse=True)
    for budget in (*sizes, *(size - 1 for size in sizes)):
        expected = next((size for size in sizes if size <= budget), sizes[-1])
        assert len(base64.b64decode(montage._webp(picture, budget))) == expected


def test_of_a_small_budget_cells_are_shown_smaller() -> None:
    assert montage.side_within(40_000, 64, 5) == montage.side_within(40_000, 200, 5) == 64
    assert montage.side_within(6_666, 64, 5) == 40
    assert montage.side_within(40_000, 24, 5) == 24
    noise = _cells(40, np.random.default_rng(0))
    assert len(base64.b64decode(montage._webp(noise, 6_666))) <= 6_666


def test_outlines_survive_that_a_window_is_shrunk() -> None:
    line = np.zeros((1, 100, 100), bool)
    line[0, 51] = True  # one pixel high: plain shrinking by 4 would lose it
    text = montage._png([line, np.zeros_like(line)], 25)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA"))
    assert picture.shape == (25, 25, 4)
    assert (picture[12, :, 3] == 255).all()
    assert (picture[:12, :, 3] == 0).all()


def test_dust_beside_cells_and_on_one_of_them_darkens_nothing() -> None:
    cells = np.kron(np.arange(1, 17, dtype=np.int32).reshape(4, 4), np.ones((4, 4), np.int32))
    cells = np.pad(cells, ((0, 16), (0, 0)))
    image = np.where(cells > 0, 0.5, 0.1)[None]
    clean = montage._contrast(image, cells)
    np.testing.assert_allclose(clean, [[0.1], [0.5]])
    image[0, 16:] = 1.0  # half of the field
    image[0, cells == 7] = 1.0
    np.testing.assert_allclose(montage._contrast(image, cells)[1], [0.5])


def test_windows_beyond_the_border_are_black() -> None:
    image = np.ones((1, 20, 20))
    shown = montage.Shown("t", "P", "A01", None, "", "", (1,), ("median",), ((0.0, 0.0),), 8)  # type: ignore[arg-type]
    [[window]] = montage._windows(image, shown)
    assert window[:4].sum() == window[:, :4].sum() == 0
    assert (window[4:, 4:] == 1).all()


def test_where_no_well_has_cells_none_is_chosen() -> None:
    profiles = pl.DataFrame({
        "Metadata_Plate": ["P"] * 2, "Metadata_Well": ["A01", "A02"], "Metadata_Perturbation": ["DMSO", "drug"],
        "Metadata_control_type": ["negcon", None], "Metadata_Count_Cells": [0, 1], "Cells_AreaShape_Area": [None, 1.0],
    })  # fmt: skip
    inputs = SimpleNamespace(read=lambda name, plate: profiles, scan=lambda name, plates: profiles.lazy())
    assert montage._chosen_wells(inputs, ["P"]).is_empty()  # type: ignore[arg-type]
    assert montage._chosen_wells(inputs, []).is_empty()  # type: ignore[arg-type]


def test_what_is_no_structure_is_none() -> None:
    """Also where rdkit is there: text that is no SMILES."""
    assert structure("") is None
    assert structure("<script>") is None


def test_a_contact_sheet_has_a_strip_for_each_treatment(screen: SimpleNamespace) -> None:
    rows = screen.inputs.read("montages", "screen").head(3)
    sheet = Image.open(io.BytesIO(montage.contact_sheet(rows)))
    side = screen.given.side
    assert abs(sheet.width / sheet.height - (8 * (side + 3) - 3) / (3 * (side + 3) - 3)) < 0.01
    assert np.asarray(sheet.convert("L")).std() > 10
