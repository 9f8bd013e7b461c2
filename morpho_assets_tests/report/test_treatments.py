"""The page of a whole screen: what is said of each treatment, plate and well."""

from __future__ import annotations

import base64
import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from morpho_assets.report import page as pages
from morpho_assets.report.study import study_page
from morpho_assets.report.wells import NONE, quantised
from morpho_assets_tests.report.screen import EVIL


def data(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    assert found, name
    return json.loads(found[1])


def number_of(page: str, key: str) -> int:
    return next(at for at, entry in enumerate(data(page, "index")) if entry["i"] == key)


def test_every_treatment_has_a_page_that_is_found_by_name_id_and_target(screen: SimpleNamespace) -> None:
    index = data(screen.page, "index")
    assert len(index) == screen.given.treatments + 1  # and DMSO
    entry = index[number_of(screen.page, "BRD-00002@10")]
    assert entry["l"] == "drug-2, 10 µM"
    assert all(text in entry["s"] for text in ("drug-2", "brd-00002", "gene2"))
    assert {f"t{at}" for at in range(len(index))} <= set(re.findall(r'json" id="(t\d+)"', screen.page))


def test_a_hit_says_that_it_acts_beside_chance_and_what_it_moves(screen: SimpleNamespace) -> None:
    record = data(screen.page, f"t{number_of(screen.page, 'BRD-00000@1')}")
    assert record["answer"].startswith("It acts in the space cellprofiler: mAP 0.9")
    assert "where chance gives 0.120 (q 0.00100;" in record["answer"]
    assert record["said"]
    assert all(re.search(r"\d SD", line) for line in record["said"])
    assert {row[0] for row in record["spaces"]} == {"cellprofiler", "cell_count"}
    rests = data(screen.page, f"t{number_of(screen.page, 'BRD-00002@1')}")
    assert rests["answer"].startswith("It cannot be told from the controls")


def test_doses_share_one_curve_and_neighbours_have_their_dose_in_their_name(screen: SimpleNamespace) -> None:
    one, other = (data(screen.page, f"t{number_of(screen.page, key)}") for key in ("BRD-00000@1", "BRD-00000@10"))
    assert one["dose"]["of"] == other["dose"]["of"]
    dose = data(screen.page, f"d{one['dose']['of']}")
    assert [point[0] for point in dose["points"]] == [1, 10]
    assert (dose["unit"], dose["benchmark_dose"], dose["benchmark_dose_low"]) == ("µM", 2, None)
    assert all(row[0].endswith("µM") or row[0] == "DMSO" for row in one["near"])


def test_what_was_flagged_or_failed_in_a_well_is_told(screen: SimpleNamespace) -> None:
    told = [row for at in range(len(data(screen.page, "index"))) for row in data(screen.page, f"t{at}")["notes"]]
    assert ["plate 001", "A02", 1, 0] in [[row[0], row[1], row[3], row[4]] for row in told]
    assert any("site 4 failed in raw_images: no such file; fetch it again" in row[5] for row in told)
    assert any(row[5] == "site 1, DNA: out of focus" for row in told)


def test_the_board_begins_with_the_plate_that_needs_a_look(screen: SimpleNamespace) -> None:
    board = data(screen.page, "plates-and-cells-table-1")
    names = [column["name"] for column in board["columns"]]
    first, second = (dict(zip(names, row, strict=True)) for row in board["rows"])
    assert first["plate"] == "plate 001"
    assert first["raw images"] == "215, 1 failed"
    assert first["drift"] == "ER log2 ratio"
    assert first["next step"] == "morpho retry: 1 failed site"
    assert (second["gate"], second["next step"]) == ("open", "none")
    assert "1 of them need a look (plate 001)" in screen.page


def test_the_study_is_answered_in_a_sentence(screen: SimpleNamespace) -> None:
    answer = "2 of 12 treatments act in the space cellprofiler; with treatments shuffled among the wells 0 % do; " \
        "counting cells alone (cell_count) finds 0 of them"  # fmt: skip
    assert answer in screen.page


def test_wells_are_packed_in_the_order_of_the_plates(screen: SimpleNamespace) -> None:
    wells = data(screen.page, "wells")
    assert [plate["name"] for plate in wells["plates"]] == screen.given.names

    def unpacked(text: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(text), "<u2")

    assert unpacked(wells["place"])[:13].tolist() == [*range(12), 64]  # A01 to A12, then B01
    cells = next(column for column in wells["columns"] if column["name"] == "cells")
    counts = screen.results.wells.filter(Metadata_Plate="plate 001", Metadata_Well="A01")["Metadata_Count_Cells"][0]
    shown = cells["low"] + (cells["high"] - cells["low"]) * int(unpacked(cells["data"])[0]) / 65534
    assert abs(shown - counts) < 0.5
    assert {column["group"] for column in wells["columns"]} == {"counts", "image quality", "features"}
    assert [each["name"] for each in wells["maps"]] == [
        "UMAP of cellprofiler, selected",
        "UMAP of cell_count, selected",
    ]


def test_values_are_packed_to_their_ends_and_what_is_not_finite_is_none() -> None:
    assert quantised(np.array([0.0, 1, 2, 9, np.nan, -5]), 0, 2).tolist() == [0, 32767, 65534, 65534, NONE, 0]
    assert quantised(np.array([3.0, 3.0]), 3, 3).tolist() == [0, 0]


def test_a_hostile_name_is_text_everywhere(screen: SimpleNamespace) -> None:
    assert EVIL not in screen.page
    assert "<img src=x" not in screen.page
    assert data(screen.page, "index")[number_of(screen.page, "BRD-00001@1")]["l"] == f"{EVIL}, 1 µM"


def test_the_page_is_the_same_bytes_again(screen: SimpleNamespace) -> None:
    assert study_page(screen.inputs, screen.results, screen.readers) == screen.page


@pytest.mark.parametrize(("value", "told"), [(0.123456789, 0.123457), (3.0, 3), (float("nan"), None), (None, None)])
def test_numbers_of_data_keep_six_digits(value: float | None, told: float | None) -> None:
    assert pages.rounded(value) == told
