"""Scores of a segmentation against naive loops, cases by hand, and their invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from morpho_assets.errors import ImageError, InputError
from morpho_assets.evaluate.evaluators import evaluate_plates, evaluator_config
from morpho_assets.evaluate.segmentation import count_error, dice, instance_f1, map_dsb, one_threshold
from morpho_assets.imaging.images import read_labels, write_labels
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.sites import SiteReader, complete_sites
from morpho_assets.lake.lake import Snapshot
from morpho_assets_tests.factories import commit_tables, make_stages, plate, tables_of
from morpho_assets_tests.project import make_project

LABELS = arrays.arrays(np.int32, (9, 11), elements=st.integers(0, 4))


def naive_hits(truth: np.ndarray, predicted: np.ndarray, iou: float) -> int:
    """Greedy one-to-one matching, best overlap first, one pair of masks at a time."""
    pairs = []
    for i in np.unique(truth[truth > 0]):
        for j in np.unique(predicted[predicted > 0]):
            a, b = truth == i, predicted == j
            pairs.append(((a & b).sum() / (a | b).sum(), i, j))
    hits, used = 0, set()
    for value, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if value >= iou and ("t", i) not in used and ("p", j) not in used:
            used |= {("t", i), ("p", j)}
            hits += 1
    return hits


@given(LABELS, LABELS)
def test_hits_are_those_of_a_loop_over_masks(truth: np.ndarray, predicted: np.ndarray) -> None:
    table = overlap(truth, predicted)
    for iou in (0.55, 0.7, 0.9):
        assert table.matches(iou).size == naive_hits(truth, predicted, iou)


@given(LABELS)
def test_an_image_agrees_with_itself_under_any_numbers(labels: np.ndarray) -> None:
    assert instance_f1(labels, labels * 7) == 1
    assert map_dsb(labels, labels * 7) == 1
    assert dice(labels, labels * 7) == 1
    assert count_error(labels, labels * 7) == 0


def test_two_squares_by_hand() -> None:
    truth, predicted = np.zeros((4, 8), np.int32), np.zeros((4, 8), np.int32)
    truth[:2, :2], truth[:, 4:] = 1, 2  # 4 and 16 pixels
    predicted[:, 4:7], predicted[3, 0] = 1, 2  # IoU with object 2: 12 / 16
    assert instance_f1(truth, predicted, 0.5) == pytest.approx(2 / 4)
    assert instance_f1(truth, predicted, 0.8) == 0
    # one hit of 3 objects in the union at 0.50 to 0.75: six of ten thresholds
    assert map_dsb(truth, predicted) == pytest.approx(6 / 10 / 3)
    assert dice(truth, predicted) == pytest.approx(24 / 33)
    assert count_error(truth, predicted) == 0


def test_empty_images() -> None:
    nothing, one = np.zeros((3, 3), np.int32), np.eye(3, dtype=np.int32)
    assert (instance_f1(nothing, nothing), map_dsb(nothing, nothing), dice(nothing, nothing)) == (1, 1, 1)
    assert (instance_f1(nothing, one), map_dsb(one, nothing), dice(one, nothing)) == (0, 0, 0)
    assert count_error(one, nothing) == -1
    assert count_error(nothing, one) == np.inf
    assert count_error(nothing, nothing) == 0


def test_fields_of_different_shape_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3, 3\)"):
        overlap(np.zeros((2, 2), int), np.zeros((3, 3), int))


PLATE = "SYN00000001"
Plates = tuple[Snapshot, dict[str, SiteReader]]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, tiny_gallery: Path) -> tuple[Plates, Path]:
    """A plate of the simulator whose masks are its true nuclei and cells, and the folder of these."""
    workspace = make_project(tmp_path_factory.mktemp("project"), tiny_gallery).workspace
    lake = workspace.lake
    make_stages(workspace, PLATE, ["plate_manifest", "raw_images"])
    truth = next(Path(tiny_gallery).rglob(f"truth/*/{PLATE}/masks"))
    rows = []
    for site in complete_sites(tables_of(lake, "masks"), PLATE):
        paths = {
            kind: lake.write_named("label_images", f"{site.key}.tif", (truth / f"{site.key}-{kind}.tiff").read_bytes())
            for kind in ("nuclei", "cells")
        }
        rows.append({**site.place, **paths, "Count_Cells": 0, "Count_Dropped": 0})
    commit_tables(lake, "masks", plate(PLATE), {"masks": pl.DataFrame(rows)})
    reader = SiteReader(lake, workspace.settings.sources[0].store())
    return (tables_of(lake, "evaluation"), {PLATE: reader}), truth


def settings(folder: Path, **more: object) -> dict[str, object]:
    return {"evaluator": "segmentation", "nuclei": "{well}-{site}-nuclei.tiff", "folder": folder, **more}


def test_true_masks_score_one_and_one_threshold_scores_less(simulated: tuple[Plates, Path]) -> None:
    plates, truth = simulated
    both = settings(truth, cells="{well}-{site}-cells.tiff", border="keep")
    found = evaluate_plates(*plates, both, seed=1).metrics
    assert found["scope"].unique(maintain_order=True).to_list() == [f"{PLATE}, nuclei", f"{PLATE}, cells"]
    assert found["metric"].to_list() == ["F1_50", "F1_70", "mAP_DSB", "Dice", "count_error"] * 2
    assert found["value"].to_list() == [1, 1, 1, 1, 0] * 2
    assert (found.filter(pl.col("metric") != "count_error")["chance"] < 1).all()
    objects = sum(int(read_labels(file).max()) for file in truth.glob("*-nuclei.tiff"))
    assert found["n"].unique().to_list() == [objects]


def test_only_sites_with_a_file_count_and_border_objects_by_choice(
    simulated: tuple[Plates, Path], tmp_path: Path
) -> None:
    plates, truth = simulated
    file = sorted(truth.glob("*-nuclei.tiff"))[0]
    labels = read_labels(file)
    inside = np.setdiff1d(labels, np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1], [0]]))
    labels[labels == inside[0]] = 0  # one nucleus that nobody drew
    (tmp_path / file.name).write_bytes(write_labels(labels))
    scores = {
        border: evaluate_plates(*plates, settings(tmp_path, border=border)).metrics for border in ("discard", "keep")
    }
    true = inside.size - 1
    discarded, kept = (dict(scores[border].select("metric", "value").iter_rows()) for border in ("discard", "keep"))
    assert scores["discard"]["n"][0] == true
    assert discarded["F1_50"] == pytest.approx(2 * true / (2 * true + 1))
    assert discarded["count_error"] == pytest.approx(1 / true)
    assert kept["F1_50"] > discarded["F1_50"]
    assert scores["discard"]["ci_low"].null_count() == 5  # one site has no spread


def test_truth_that_is_not_there_or_does_not_fit(simulated: tuple[Plates, Path], tmp_path: Path) -> None:
    plates, _ = simulated
    with pytest.raises(InputError, match="no file that its paths name"):
        evaluate_plates(*plates, settings(tmp_path))
    with pytest.raises(InputError, match=r"batch.*\{plate\}, \{well\}, \{site\}"):
        evaluate_plates(*plates, settings(tmp_path, nuclei="{batch}/{well}.tif"))
    with pytest.raises(InputError, match="name the true label images"):
        evaluator_config({"evaluator": "segmentation"})
    for site in complete_sites(plates[0], PLATE):
        (tmp_path / f"{site.key}-nuclei.tiff").write_bytes(write_labels(np.ones((5, 5), np.int32)))
    with pytest.raises(ImageError, match="5 x 5"):
        evaluate_plates(*plates, settings(tmp_path))


def test_one_threshold_by_hand() -> None:
    plane = np.zeros((20, 30), np.float32)
    plane[2:8, 2:8], plane[12:18, 20:28], plane[0, 29] = 1, 0.9, 1
    assert one_threshold(plane).max() == 2  # the single pixel is a speck
    assert one_threshold(np.full((4, 4), 0.3, np.float32)).max() == 0
